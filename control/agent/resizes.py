"""Which resizes of Pods the node takes, and when: as soon as there is room, the urgent ones first.

Source: kubelet's allocation manager (pkg/kubelet/allocation), KEP-1287
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from control.agent.admission import admit, requested
from control.agent.pods.allocation import Allocations, held
from control.agent.pods.quality import amount, quality
from control.agent.pods.resize_status import DEFERRED, INFEASIBLE
from control.agent.pods.worker import PodWorker
from control.api.node import Node
from control.api.pod import Pod
from control.api.quantity import ZERO, Quantity
from control.metrics import Registry

_RETRY_SECONDS = 180.0
_RESOURCES = ("cpu", "memory")
_UNSUPPORTED = "In-place pod resize is not supported on this node"


class Resizes:
    """The resizes that wait for room on the node."""

    def __init__(
        self,
        workers: Mapping[str, PodWorker],
        allocations: Allocations,
        node: Callable[[], Node | None],
        metrics: Registry,
        *,
        supported: Callable[[], bool],
    ) -> None:
        self._workers, self._allocations, self._node = workers, allocations, node
        self._supported = supported
        self._pending: list[str] = []
        self._ready = False
        self._requested = metrics.counter(
            "kubelet_container_requested_resizes_total",
            "Number of requested resizes, counted at the container level",
            *("resource", "requirement", "operation"),
        )
        self._infeasible = metrics.counter(
            "kubelet_pod_infeasible_resizes_total",
            "Number of infeasible resizes for pods.",
            "reason_detail",
        )
        self._accepted = metrics.counter(
            "kubelet_pod_deferred_accepted_resizes_total",
            "Cumulative number of resizes that were accepted after being deferred.",
            "retry_trigger",
        )
        metrics.measured(
            "kubelet_pod_pending_resizes",
            "Number of pending resizes for pods.",
            "reason",
            read=self._count_pending,
        )
        metrics.measured(
            "kubelet_pod_in_progress_resizes",
            "Number of in-progress resizes for pods.",
            read=self._count_in_progress,
        )

    async def run(self, synced: asyncio.Event) -> None:
        """Try again what waits, every few minutes; begin when all Pods of the node are known."""
        await synced.wait()
        self._ready = True
        trigger = "pods_added"
        while True:
            self.retry(trigger)
            await asyncio.sleep(_RETRY_SECONDS)
            trigger = "periodic_retry"

    def added(self, worker: PodWorker) -> None:
        """Look at a Pod of an earlier agent that asks for something else than it has."""
        if not self._allocations.is_allocated(worker.wanted):
            self._push(worker.wanted.metadata.uid)

    def updated(self, worker: PodWorker, old: Pod) -> None:
        """Look at a Pod's newer object."""
        new = worker.wanted
        changes = [*_operations(old, new)]
        for labels in changes:
            self._requested.add(*labels)
        if changes or old.spec.resources != new.spec.resources:
            if self._allocations.is_allocated(new):
                worker.resize.pending = None  # it was taken back
                worker.wake()
            else:
                self._push(new.metadata.uid)
                self.retry("pod_updated")
        if self._pending:
            self._freed(worker, old)

    def _freed(self, worker: PodWorker, old: Pod) -> None:
        """Try again what waits if a Pod has ended, or has given up something."""
        new = worker.wanted
        ended = ("Succeeded", "Failed")
        if new.status.phase in ended and old.status.phase not in ended:
            self.retry("pod_terminated")
            return
        before, after = (held(self._allocations.applied(pod)) for pod in (old, new))
        if any(requested(after, it) < requested(before, it) for it in _RESOURCES):
            self.retry("pod_resized")

    def removed(self, uid: str) -> None:
        """Give the room of a Pod that is gone to others."""
        self._allocations.forget(uid)
        self.retry("pods_removed")

    def _push(self, uid: str) -> None:
        if uid not in self._pending:
            self._pending.append(uid)

    def retry(self, trigger: str) -> None:
        """Try all that waits, in order."""
        if not self._ready:
            return
        waiting = [self._workers[uid] for uid in self._pending if uid in self._workers]
        self._pending = []
        for worker in sorted(waiting, key=self._order):
            deferred = worker.resize.pending is not None
            if not self._handle(worker):
                continue
            if deferred and worker.resize.pending is None:
                self._accepted.add(trigger)

    def _order(self, worker: PodWorker) -> tuple[bool, int, bool, str]:
        """What asks for no more is first, then by priority, by class, and by the time it waits."""
        new, pending = worker.wanted, worker.resize.pending
        grows = any(requested(new, it) > requested(worker.pod, it) for it in _RESOURCES)
        since = (pending and pending.last_transition_time) or "~"
        return grows, -(new.spec.priority or 0), quality(new) != "Guaranteed", since

    def _handle(self, worker: PodWorker) -> bool:
        """Allocate what a Pod asks for if there is room; return False if there is none."""
        wanted, node = worker.wanted, self._node()
        if self._allocations.is_allocated(wanted):
            worker.resize.pending = None
            worker.wake()
            return True
        if not self._supported():
            self._infeasible.add("unsupported_platform")
            worker.defer_resize(INFEASIBLE, _UNSUPPORTED)
            return False
        others = [
            held(it.pod) for it in self._workers.values() if it is not worker and it.takes_room
        ]
        refusal = admit(wanted, others, node) if node is not None else None
        if node is None or refusal is not None:
            worker.defer_resize(
                DEFERRED, refusal.message if refusal else "the node is not known yet"
            )
            self._push(wanted.metadata.uid)
            return False
        self._allocations.allocate(wanted)
        worker.begin_resize()
        return True

    def _count_in_progress(self) -> Mapping[tuple[str, ...], float]:
        every = self._workers.values()
        return {(): float(sum(worker.resize.in_progress is not None for worker in every))}

    def _count_pending(self) -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for worker in self._workers.values():
            if pending := worker.resize.pending:
                labels = ((pending.reason or "").lower(),)
                found[labels] = found.get(labels, 0.0) + 1
        return found


def _operations(old: Pod, new: Pod) -> Iterator[tuple[str, str, str]]:
    """Yield (resource, requirement, operation) for each amount of a container that changes."""
    before = {it.name: it for it in (*old.spec.init_containers, *old.spec.containers)}
    for spec in (*new.spec.init_containers, *new.spec.containers):
        if (earlier := before.get(spec.name)) is None or earlier.resources == spec.resources:
            continue
        for resource in ("memory", "cpu"):
            for side in ("requests", "limits"):
                pair = [amount(it, side, resource) or ZERO for it in (earlier, spec)]
                if operation := _operation(*pair):
                    yield resource, side, operation


def _operation(old: Quantity, new: Quantity) -> str:
    if old == new:
        return ""
    if not new.nano:
        return "remove"
    if not old.nano:
        return "add"
    return "decrease" if new < old else "increase"
