"""The loop that brings the kernel to the newest state."""

import asyncio
import time

from proxy.desired.tracker import Tracker
from proxy.model.values import Family, NodeView
from proxy.status.changes import PendingChanges
from proxy.status.health import ProxyHealth
from proxy.status.metrics import ProxyMetrics
from proxy.sync import Syncer

HOUR = 3600.0
GUARD = 60.0  # seconds; only a loop that hangs takes them


def test_neither_the_rest_of_a_sync_nor_a_change_meanwhile_waits_for_the_least_period() -> None:
    asyncio.run(_write_in_parts())


async def _write_in_parts() -> None:
    metrics = ProxyMetrics()
    tracker = Tracker(NodeView("n1"), (Family.V4,))
    changes = PendingChanges(metrics)
    syncer = Syncer(tracker, ProxyHealth(time.monotonic), metrics, changes, HOUR)
    parts, done, end = iter(range(4)), asyncio.Event(), asyncio.Event()

    async def synced(_: object) -> None:
        number = next(parts)
        if number == 3:
            done.set()
            return
        syncer.unfinished()
        if number == 1:
            syncer.changed()

    run = asyncio.create_task(syncer.run(lambda *_: None, synced, end))
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({run, waiting}, timeout=GUARD, return_when=asyncio.FIRST_COMPLETED)
    run.cancel()
    assert done.is_set()
