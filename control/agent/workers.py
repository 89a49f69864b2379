"""The workers of a node's Pods: who begins, who is admitted, who has ended."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from control.agent import shutdown
from control.agent.admission import admit
from control.agent.eviction import Evictions
from control.agent.pods import decide
from control.agent.pods.context import WorkerContext
from control.agent.pods.worker import PodWorker
from control.agent.resizes import Resizes
from control.agent.shutdown import Shutdown
from control.api.container import Container as ContainerSpec
from control.api.meta import ObjectMeta
from control.api.node import Node
from control.api.pod import Pod, PodSpec
from control.runtime.base import Container, PodRef

logger = logging.getLogger(__name__)


class Workers:
    """A worker for each Pod of the node, by the Pod's UID in ``by_uid``."""

    def __init__(
        self,
        by_uid: dict[str, PodWorker],
        resizes: Resizes,
        evictions: Evictions,
        shutdown: Shutdown,
        node: Callable[[], Node | None],
    ) -> None:
        """``node`` returns this node's object, None if it is not known yet."""
        self.by_uid, self._resizes, self._evictions = by_uid, resizes, evictions
        self._shutdown, self._node = shutdown, node
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._context: WorkerContext

    def open(self, context: WorkerContext) -> None:
        """Take what the workers need; before, none can begin."""
        self._context = context

    def changed(self, old: Pod | None, new: Pod | None) -> None:
        """Take a change of a Pod in the API."""
        if new is None:
            if old is not None and (worker := self.by_uid.get(old.metadata.uid)):
                worker.lost()
            return
        if old is not None and old.metadata.uid != new.metadata.uid:
            self.changed(old, None)
        worker = self.by_uid.get(new.metadata.uid)
        if worker is None:
            self.begin(new)
        else:
            before = worker.wanted
            worker.update(new)
            self._resizes.updated(worker, before)

    def begin(self, pod: Pod, *, gone: bool = False) -> PodWorker:
        """Let a Pod run, if it is admitted; ``gone``: only end what is left of it."""
        worker = PodWorker(self._context, pod, gone=gone)
        uid = pod.metadata.uid
        self.by_uid[uid] = worker
        if not gone:
            self._admit(pod, worker)
            if worker.takes_room and not self._context.allocations.knows(uid):
                self._context.allocations.allocate(pod)
            self._resizes.added(worker)
        task = asyncio.create_task(worker.run(), name=f"pod {pod.metadata.name}")
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._ended(uid, done))
        return worker

    def _admit(self, pod: Pod, worker: PodWorker) -> None:
        """Admit or reject a new Pod; one that runs here was admitted by an earlier agent."""
        node = self._node()
        sandboxes, _ = self._context.of(pod.metadata.uid)
        over = pod.status.phase in ("Succeeded", "Failed") or decide.is_deleted(pod)
        if node is None or sandboxes or over or pod.status.start_time:
            return
        if self._shutdown.is_on:
            worker.reject(shutdown.REASON, shutdown.REFUSAL)
            return
        if why := self._evictions.refusal(pod):
            worker.reject(decide.EVICTED, why)
            return
        others = [
            other.pod
            for uid, other in self.by_uid.items()
            if uid != pod.metadata.uid and other.takes_room
        ]
        if refusal := admit(worker.pod, others, node):
            worker.reject(refusal.reason, refusal.message)

    def _ended(self, uid: str, task: "asyncio.Task[None]") -> None:
        worker = self.by_uid.pop(uid, None)
        self._tasks.pop(uid, None)
        if worker is not None and worker.finished:
            self._resizes.removed(uid)
        if not task.cancelled() and task.exception():
            logger.error("the worker of Pod %s ended", uid, exc_info=task.exception())
        if worker is not None:
            worker.ended()

    def wake(self, pod: PodRef) -> None:
        """Let a Pod's worker look: the runtime has news of it."""
        if worker := self.by_uid.get(pod.uid):
            worker.wake()

    def end_orphans(self) -> None:
        """End Pods that were deleted while no agent ran."""
        known = self._known()
        for uid in (known.keys() | self._context.volumes.uids()) - self.by_uid.keys():
            ref = known.get(uid, PodRef("", "", uid))
            logger.info("Pod %s (%s) is gone from the API: ending it", ref, uid)
            self._end(ref)

    def end_others(self, pod: Pod) -> bool:
        """End what runs under a static Pod's name; return True if something does.

        It is another version of its file. The UID of a Pod of the API has dashes.
        """
        others = [
            ref
            for uid, ref in self._known().items()
            if (ref.namespace, ref.name) == pod.key and uid != pod.uid and "-" not in uid
        ]
        for ref in others:
            if ref.uid not in self.by_uid:
                self._end(ref)
        return bool(others)

    def _known(self) -> dict[str, PodRef]:
        observed = self._context.runtime.observe()
        known = {it.pod.uid: it.pod for it in observed.sandboxes}
        return known | {it.pod.uid: it.pod for it in observed.containers}

    def _end(self, ref: PodRef) -> None:
        self.begin(_orphan(ref, self._context.runtime.observe().containers), gone=True)


def _orphan(ref: PodRef, containers: Iterable[Container]) -> Pod:
    """Make a Pod object from what the runtime knows, when the API has it no more."""
    names = {container.name for container in containers if container.pod.uid == ref.uid}
    spec = PodSpec(containers=[ContainerSpec(name=name) for name in sorted(names)])
    meta = ObjectMeta(name=ref.name, namespace=ref.namespace, uid=ref.uid)
    return Pod(metadata=meta, spec=spec)
