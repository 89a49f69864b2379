"""The loop that reads logged drops: into the table, into Events, and the counters beside them."""

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from msgspec import Struct

from proxy.linux.nflog import LoggedPacket, NflogListener
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, NodeView
from proxy.policy.drops import counts
from proxy.policy.drops.counts import DropCounts, Place
from proxy.policy.drops.naming import Drop, name_drop
from proxy.policy.drops.packet import read_flow
from proxy.policy.drops.table import DropTable
from proxy.policy.index import PolicyIndex
from proxy.policy.render import LOG_GROUP, SNAPLEN
from proxy.status.events import Reporter

logger = logging.getLogger("podwire.proxy.policy")

_AT_ONCE = 50  # messages read before other work has its turn
_RETRY = 5.0  # seconds
_READING = 1.0  # seconds from a logged drop to a reading of the counters
_REMEMBERED = 300.0  # seconds after which a drop that goes on is reported again


class View(Struct, frozen=True):
    """What names drops: the index, the node, and the families that have rules."""

    index: PolicyIndex
    node: Callable[[], NodeView]
    settings: Callable[[], ProxySettings]


class DropWatch:
    """What this node dropped. It outlives the engines that enforce."""

    def __init__(self) -> None:
        self.table = DropTable()
        self.counts = DropCounts()
        self.lost = 0  # times that packets came faster than they were read
        self._more = asyncio.Event()
        self._view: View | None = None
        self._reported: dict[Drop, float] = {}
        self._reading: asyncio.TimerHandle | None = None
        self._readings: set[asyncio.Task[None]] = set()
        self._counting = asyncio.Lock()  # readings are taken in the order in which they were made

    @asynccontextmanager
    async def watching(self, view: View, report: Reporter) -> AsyncIterator[None]:
        """Read what is logged while the context lasts."""
        self._view = view
        task = asyncio.create_task(self._listen(view, report))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._view = None
            self.wake()

    def wake(self) -> None:
        """Answer those who wait for a change."""
        self._more.set()
        self._more = asyncio.Event()

    async def wait(self, change: int, seconds: float) -> None:
        """Wait until something came after ``change``, or nobody watches, or time is up."""
        if self.table.changes <= change and self._view is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), seconds)

    async def read_counts(self) -> None:
        """Read the kernel's counters now."""
        view = self._view
        if view is None:
            return
        async with self._counting:
            try:
                readings = await asyncio.to_thread(counts.read, view.settings().families)
            except OSError:
                return  # no policy, so no table; or it is being written
            self.counts.take(readings, lambda place: guards_of(view.index, place))

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Let the tables be written anew in the context. What they counted before is not read
        again, unless an error ends it.
        """
        async with self._counting:
            yield
            self.counts.begin_anew()

    async def _listen(self, view: View, report: Reporter) -> None:
        told = 0
        while True:
            try:
                log = NflogListener(LOG_GROUP, SNAPLEN)
            except OSError as err:
                if err.errno != told:
                    logger.warning("drops have no names: NFLOG group %d: %s", LOG_GROUP, _why(err))
                told = err.errno or 0
                self._read_soon()
                await asyncio.sleep(_RETRY)
                continue
            await self._serve(log, view, report)

    async def _serve(self, log: NflogListener, view: View, report: Reporter) -> None:
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            try:
                packets = log.read(_AT_ONCE)
            except OSError as err:
                loop.remove_reader(log)
                failed.set_exception(err)
                return
            self.lost, log.lost = self.lost + log.lost, 0
            self.take(packets, view, report)

        loop.add_reader(log, read)
        try:
            await failed
        except OSError as err:
            logger.warning("drops have no names for a while: %s", err)
        finally:
            loop.remove_reader(log)
            log.close()

    def take(self, packets: list[LoggedPacket], view: View, report: Reporter) -> None:
        """Name packets, count them, and report what is new."""
        now = time.time()
        for packet in packets:
            flow = read_flow(packet.payload)
            drop = flow and name_drop(view.index, view.node(), packet.prefix, flow)
            if drop:
                self.table.add(drop, now)
                self._report(drop, now, view.index, report)
        if packets:
            self.wake()
            self._read_soon()

    def _report(self, drop: Drop, now: float, index: PolicyIndex, report: Reporter) -> None:
        """Report a drop once in some minutes, on the Pod whose policies dropped it."""
        pod = index.pods.get(drop.guarded.pod) if drop.guarded.pod else None
        if pod is None or now - self._reported.get(drop, 0.0) < _REMEMBERED:
            return
        if len(self._reported) >= self.table.most:
            self._reported.clear()
        self._reported[drop] = now
        report.about_pod(pod.key, pod.uid, "NetworkPolicyDrop", f"{drop.what}: {drop.reason}")

    def _read_soon(self) -> None:
        if self._reading is None:
            loop = asyncio.get_running_loop()
            self._reading = loop.call_later(_READING, self._read)

    def _read(self) -> None:
        self._reading = None
        task = asyncio.create_task(self.read_counts())
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)


def guards_of(index: PolicyIndex, place: Place) -> tuple[Key, ...]:
    """Return the policies that may have dropped what is counted at a place."""
    pod = None if isinstance(place.where, Family | str) else index.holder(place.where)
    if pod is None:
        return ()
    if place.by_rule:
        return tuple(one.key for one in index.denying(pod, place.direction))
    return tuple(one.key for one in index.guards(pod, place.direction))


def _why(err: OSError) -> str:
    if err.errno == errno.EBUSY:
        return "another program reads it; end it"
    return err.strerror or str(err)
