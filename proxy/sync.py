"""The sync loop: objects change, the tracker computes the desired state, the applier applies it.

informers ──► tracker ──(changed)──► one worker thread: applier
                                        │ failure: logged once, retried with back-off
                                        └ success: healthz and metrics are updated
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.errors import ProxyError
from proxy.model.values import NodeView
from proxy.status.changes import PendingChanges
from proxy.status.health import ProxyHealth
from proxy.status.metrics import ProxyMetrics

logger = logging.getLogger("podwire.proxy")

_FIRST_RETRY = 0.1
_LAST_RETRY = 10.0
_BREATH = 0.01  # between the parts of a sync that is not finished; a change meanwhile goes at once

Apply = Callable[[Desired, NodeView], None]  # blocks; raises ProxyError
Listener = Callable[[Desired], Awaitable[None]]  # learns of the state that is now in force


class Syncer:
    """Brings the kernel to the tracker's state after each change. Run ``run`` as a task."""

    def __init__(
        self,
        tracker: Tracker,
        health: ProxyHealth,
        metrics: ProxyMetrics,
        changes: PendingChanges,
        least_seconds: float,
    ) -> None:
        """``least_seconds`` pass between two syncs. Changes meanwhile share the next one."""
        self._changes = changes
        self._tracker = tracker
        self._health = health
        self._metrics = metrics
        self._least = least_seconds
        self._dirty = asyncio.Event()
        self._unfinished = False
        self._failing = ""

    def changed(self) -> None:
        """Ask for a sync. Call it on the event loop."""
        self._health.eligible = self._tracker.node.eligible
        self._health.queued()
        self._metrics.set("sync_proxy_rules_last_queued_timestamp_seconds", time.time())
        self._dirty.set()

    def unfinished(self) -> None:
        """Ask for one more sync, which brings in the rest of the last one."""
        self._unfinished = True

    async def run(self, apply: Apply, listener: Listener, end: asyncio.Event) -> None:
        """Sync, the first time at once, until ``end`` is set; it is looked at after changes."""
        self.changed()
        retry = _FIRST_RETRY
        while True:
            await self._dirty.wait()
            if end.is_set():
                return
            self._dirty.clear()
            want = self._tracker.desired()
            if await self._sync(apply, want):
                retry = _FIRST_RETRY
                await listener(want)
                await self._pause()
            else:
                self._dirty.set()
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY)

    async def _pause(self) -> None:
        """Let changes gather; but a change does not wait for the rest of a sync."""
        if not self._unfinished:
            await asyncio.sleep(self._least)
            return
        self._unfinished = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._dirty.wait(), min(self._least, _BREATH))
        self._dirty.set()

    async def _sync(self, apply: Apply, want: Desired) -> bool:
        since, batch = self._health.taken(), self._changes.take()
        began = time.monotonic()
        try:
            await asyncio.to_thread(apply, want, self._tracker.node)
        except ProxyError as err:
            self._health.failed(since)
            self._changes.failed(batch)
            self._failed(str(err))
            return False
        self._changes.written(batch)
        self._succeeded(len(want), time.monotonic() - began)
        return True

    def _failed(self, why: str) -> None:
        self._metrics.add("sync_failures_total")
        if why != self._failing:
            logger.error("sync failed; trying again: %s", why)
        self._failing = why

    def _succeeded(self, count: int, took: float) -> None:
        if self._failing:
            logger.info("sync succeeds again")
            self._failing = ""
        self._health.updated()
        self._metrics.set("sync_proxy_rules_last_timestamp_seconds", time.time())
        self._metrics.observe("sync_proxy_rules_duration_seconds", took)
        logger.debug("synced %d Services in %.1f ms", count, took * 1000)
