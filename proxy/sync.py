"""The loop around it all: objects change, the tracker says what should be, the backend does it.

informers ──► tracker ──(dirty)──► one worker thread: backend.apply
                                       │ failure: logged once, tried again with back-off
                                       └ success: healthz and metrics learn of it
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from proxy.backend import Backend
from proxy.cleaner import Cleaner
from proxy.desired import Desired
from proxy.errors import ProxyError
from proxy.health import Health
from proxy.metrics import Metrics
from proxy.model import NodeView
from proxy.tracker import Tracker

log = logging.getLogger("podwire.proxy")

_FIRST_RETRY = 0.1
_LAST_RETRY = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds from one sync to the next, at least."""

    least: float = 0.01


class Syncer:
    """Brings the kernel to the tracker's state whenever that changed; `run` it as a task."""

    def __init__(
        self,
        tracker: Tracker,
        backend: Backend,
        cleaner: Cleaner,
        health: Health,
        metrics: Metrics,
        pace: Pace,
    ) -> None:
        self._tracker = tracker
        self._backend = backend
        self._cleaner = cleaner
        self._health = health
        self._metrics = metrics
        self._pace = pace
        self._dirty = asyncio.Event()
        self._failing = ""

    def changed(self) -> None:
        """Something changed; call it on the event loop."""
        self._health.eligible = self._tracker.node.eligible
        self._health.queued()
        self._metrics.set("sync_proxy_rules_last_queued_timestamp_seconds", time.time())
        self._dirty.set()

    async def run(self) -> None:
        """Sync for ever. Changes that come during a sync share the next one."""
        retry = _FIRST_RETRY
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if await self._sync():
                retry = _FIRST_RETRY
                await asyncio.sleep(self._pace.least)
            else:
                self._dirty.set()
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY)

    async def _sync(self) -> bool:
        since = self._health.taken()
        want, node = self._tracker.desired(), self._tracker.node
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._apply, want, node)
        except ProxyError as err:
            self._health.failed(since)
            self._failed(str(err))
            return False
        self._succeeded(want, node, since, time.monotonic() - began)
        return True

    def _apply(self, want: Desired, node: NodeView) -> None:
        """In the worker thread. Flows are looked at only once the rules send new ones aright."""
        self._backend.apply(want, node)
        self._metrics.add("stale_conntrack_entries_deleted_total", self._cleaner.clean(want))

    def _failed(self, why: str) -> None:
        self._metrics.add("sync_failures_total")
        if why != self._failing:
            log.error("sync failed, trying again: %s", why)
        self._failing = why

    def _succeeded(self, want: Desired, node: NodeView, since: float | None, took: float) -> None:
        now = time.time()
        if self._failing:
            log.info("sync works again")
            self._failing = ""
        self._health.updated()
        self._metrics.set("sync_proxy_rules_last_timestamp_seconds", now)
        self._metrics.observe("sync_proxy_rules_duration_seconds", took)
        if since is not None:
            self._metrics.observe("network_programming_duration_seconds", max(now - since, 0))
        log.debug("synced %d Services for %s in %.1f ms", len(want), node.name, took * 1000)
