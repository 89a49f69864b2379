"""Ends Pods that use more disk space than they may, and others while the node is short of it.

Every 10 s, as kubelet's eviction manager: what is short ends one Pod at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from control.agent import pressure, storage
from control.agent.node import describe
from control.agent.node.describe import HostFacts
from control.agent.pods import render
from control.agent.pods.context import WorkerContext
from control.agent.pods.worker import PodWorker
from control.agent.pressure import PodUse, Threshold
from control.api.pod import Pod
from control.linux.usage import disk_usage
from control.runtime.base import Container, ContainerRuntimeError, Phase

logger = logging.getLogger(__name__)

_PERIOD = 10.0
_TRANSITION = 300.0  # seconds a condition stays, kubelet's evictionPressureTransitionPeriod


class Evictions:
    """The node's shortages, and the Pods that go for them."""

    def __init__(
        self,
        thresholds: tuple[Threshold, ...],
        root: Path,
        workers: Mapping[str, PodWorker],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[], HostFacts] | None = None,
    ) -> None:
        """``changed`` is called when the node has got or lost a condition.

        ``look`` reads what the machine has; default: of ``root``.
        """
        self._look_at_machine = look or partial(describe.look, root)
        self._thresholds, self._root, self._workers = thresholds, root, workers
        self._changed, self._clock = changed, clock
        self._seen: dict[str, float] = {}
        self._shown: frozenset[str] = frozenset()

    @property
    def conditions(self) -> frozenset[str]:
        """The conditions of shortage that the node has, such as MemoryPressure."""
        return self._shown

    def reserved(self, machine: HostFacts) -> Mapping[str, int]:
        """Return how many bytes of each resource no Pod can have."""
        return pressure.reserved(self._thresholds, machine)

    def refusal(self, pod: Pod) -> str:
        """Return why the node takes no such Pod now; "" if it does."""
        return pressure.refusal(pod, self._shown)

    async def run(self, context: WorkerContext) -> None:
        """Look for ever."""
        while True:
            await self.once(context)
            await asyncio.sleep(_PERIOD)

    async def once(self, context: WorkerContext) -> None:
        """Look once; a runtime or disk that does not answer is asked again the next time."""
        machine = await asyncio.to_thread(self._look_at_machine)
        met = pressure.exceeded(self._thresholds, machine)
        self._note(met)
        try:
            if met and not self._frees(context, met[0]):
                await self._evict_one(context, met[0], machine)
            await self._check_limits(context)
        except (ContainerRuntimeError, OSError) as err:
            logger.warning("eviction: %s; trying again", err)

    def _note(self, met: tuple[Threshold, ...]) -> None:
        now = self._clock()
        self._seen |= {it.condition: now for it in met}
        shown = frozenset(name for name, at in self._seen.items() if now - at < _TRANSITION)
        if shown != self._shown:
            self._shown = shown
            self._changed()

    def _frees(self, context: WorkerContext, threshold: Threshold) -> bool:
        """True if a Pod that is being evicted still has of what is short.

        That does not wait for the API server, except for disk space: a Pod keeps its remains until
        its status is written.
        """
        keeps = {Phase.RUNNING} if threshold.resource == "memory" else {*Phase}
        return any(
            container.phase in keeps
            for worker in self._workers.values()
            if worker.is_evicted
            for container in context.of(worker.pod.metadata.uid)[1]
        )

    async def _evict_one(
        self, context: WorkerContext, threshold: Threshold, machine: HostFacts
    ) -> None:
        measure = self._memory if threshold.resource == "memory" else self._disk
        uses = await measure(context)
        for use in pressure.ranked(uses, threshold.resource)[:1]:
            worker = self._workers[use.pod.metadata.uid]
            worker.evict(pressure.message(use, threshold, machine), disruption=True)

    def _running(self, context: WorkerContext) -> list[tuple[PodWorker, list[Container]]]:
        """The Pods that count, with those of their containers that run."""
        found = []
        for worker in self._workers.values():
            containers = context.of(worker.pod.metadata.uid)[1]
            running = [it for it in containers if it.phase is Phase.RUNNING]
            if worker.takes_room and running:
                found.append((worker, running))
        return found

    async def _memory(self, context: WorkerContext) -> list[PodUse]:
        used = (await context.runtime.usage()).containers
        return [
            PodUse(worker.pod, {it.name: used[it.id].memory for it in containers if it.id in used})
            for worker, containers in self._running(context)
        ]

    async def _disk(self, context: WorkerContext) -> list[PodUse]:
        return [
            await asyncio.to_thread(self._disk_of, context, worker.pod, containers)
            for worker, containers in self._running(context)
        ]

    def _disk_of(self, context: WorkerContext, pod: Pod, containers: list[Container]) -> PodUse:
        layers = {it.name: storage.layer(self._root / "containers" / it.id) for it in containers}
        logs = Path(render.log_directory(render.reference(pod)))
        return PodUse(
            pod, layers, disk_usage(context.volumes.folder(pod.metadata.uid)) + disk_usage(logs)
        )

    async def _check_limits(self, context: WorkerContext) -> None:
        """Evict Pods that exceed their own limits of disk space."""
        for worker in [*self._workers.values()]:
            if worker.takes_room and storage.is_limited(worker.pod):
                await self._check_limit(context, worker)

    async def _check_limit(self, context: WorkerContext, worker: PodWorker) -> None:
        uid = worker.pod.metadata.uid
        containers = {
            item.name: (self._root / "containers" / item.id, Path(item.log_path).parent)
            for item in context.of(uid)[1]
            if item.phase is Phase.RUNNING
        }
        volumes = context.volumes.folder(uid) / "volumes"
        message = await asyncio.to_thread(storage.excess, worker.pod, volumes, containers)
        if message:
            worker.evict(message)
