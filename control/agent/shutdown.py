"""Ends the node's Pods by their own grace when the machine goes down, the critical ones last.

systemd stops the agent early, while the API server can still be told. kubelet delays logind for the
same (KEP-2000), with the same words in statuses; that needs a D-Bus client, and Debian's containers
and small machines have no logind. Source: k8s.io/kubernetes/pkg/kubelet/nodeshutdown
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from control.agent.pods.context import WorkerContext
from control.agent.pods.worker import PodWorker
from control.runtime.base import Phase

logger = logging.getLogger(__name__)

REASON, REFUSAL = "NodeShutdown", "Pod was rejected as the node is shutting down."
TERMINATED = "Terminated"
MESSAGE = "Pod was terminated in response to imminent node shutdown."
_CRITICAL = 2 * 10**9  # the priority of system-cluster-critical
_LOOK, _ANSWER = 0.05, 5.0
_TOLD = 2.0  # seconds for the API server to take the last statuses


@dataclass(frozen=True, slots=True)
class ShutdownPeriods:
    """How many seconds Pods get in all, and how many of these only critical ones; 0 is never."""

    whole: float = 0.0
    critical: float = 0.0


NO_SHUTDOWN = ShutdownPeriods()


async def machine_stops() -> bool:
    """Ask systemd whether the machine goes down; without systemd it does not."""
    try:
        asked = await asyncio.create_subprocess_exec(
            *("systemctl", "is-system-running"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        answer, _ = await asyncio.wait_for(asked.communicate(), _ANSWER)
    except TimeoutError:
        asked.kill()
        return False
    return answer.strip() == b"stopping"


class Shutdown:
    """The end of the node's Pods."""

    def __init__(
        self,
        periods: ShutdownPeriods,
        workers: Mapping[str, PodWorker],
        changed: Callable[[], None],
        stops: Callable[[], Awaitable[bool]] = machine_stops,
    ) -> None:
        """``changed`` is called when the node begins to shut down."""
        self._periods, self._workers = periods, workers
        self._changed, self._stops = changed, stops
        self.is_on = False

    async def run(self, context: WorkerContext) -> None:
        """End all Pods, if the machine goes down; else, as for a new agent, they run on."""
        if self.is_on or not self._periods.whole or not await self._stops():
            return
        self.is_on = True
        self._changed()
        logger.info("the machine goes down: Pods have %g seconds to end", self._periods.whole)
        for critical in (False, True):
            await self._end(context, critical)
        await self._told()

    async def _end(self, context: WorkerContext, critical: bool) -> None:
        group = [
            worker
            for worker in self._workers.values()
            if worker.takes_room and (_priority(worker) >= _CRITICAL) is critical
        ]
        if not group:
            return
        period = (
            self._periods.critical if critical else self._periods.whole - self._periods.critical
        )
        for worker in group:
            worker.terminate(TERMINATED, MESSAGE, period)
        if not await _until(lambda: not _running(context, group), period):
            names = ", ".join(str(worker.wanted.key) for worker in group)
            logger.warning("after %g seconds not all of these Pods have ended: %s", period, names)

    async def _told(self) -> None:
        """Wait, not long, until the API server knows what became of the Pods."""
        ended = [worker for worker in self._workers.values() if worker.is_terminated]
        await _until(lambda: all(worker.says_its_end for worker in ended), _TOLD)
        try:
            flushes = asyncio.gather(*(worker.flush() for worker in ended))
            await asyncio.wait_for(flushes, _TOLD)
        except TimeoutError:
            logger.warning("the API server was not told how all Pods have ended")


def _priority(worker: PodWorker) -> int:
    return worker.wanted.spec.priority or 0


def _running(context: WorkerContext, group: Sequence[PodWorker]) -> bool:
    return any(
        container.phase is Phase.RUNNING
        for worker in group
        for container in context.of(worker.wanted.metadata.uid)[1]
    )


async def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Return True as soon as something is done; False if it is not after these seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done():
        if loop.time() >= end:
            return False
        await asyncio.sleep(_LOOK)
    return True
