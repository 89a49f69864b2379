"""Compact the store, remove old Events and repair IPAddresses, at intervals.

Upstream compacts etcd every five minutes, up to its revision of five minutes before, and keeps
Events for an hour (kube-apiserver's --etcd-compaction-interval and --event-ttl). etcd removes these
by itself; else a server does, within a quarter more of their time, or within five minutes.
"""

import asyncio
import logging
from datetime import datetime

from control.api.kinds import EVENT
from control.api.times import parse_time
from control.server.state.server import ServerState
from control.server.state.strides import strides
from control.server.verbs.allocation.repair import repair_addresses
from control.server.verbs.write import remove
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item
from control.store.base import StoreError

logger = logging.getLogger(__name__)

INTERVAL = 300.0
_OFTEN = 1.0  # seconds: the least time between two looks at Events


async def upkeep(state: ServerState, interval: float = INTERVAL) -> None:
    """Compact and repair every ``interval`` seconds, for ever."""
    before = state.store.revision
    while True:
        await asyncio.sleep(interval)
        now = state.store.revision
        try:
            await state.store.compact(before)
            await repair_addresses(state)
        except (StoreError, StatusError) as err:
            logger.warning("upkeep: %s; trying again in %.0f s", err, interval)
        before = now


async def forget_events(state: ServerState, interval: float = INTERVAL) -> None:
    """Remove old Events for ever, unless the store does."""
    pause = max(_OFTEN, state.config.event_life.total_seconds() / 4)
    while not state.store.removes_events:
        await asyncio.sleep(min(interval, pause))
        try:
            await expire_events(state)
        except (StoreError, StatusError) as err:
            logger.warning("old Events: %s", err)


async def expire_events(state: ServerState) -> None:
    """Remove the Events that are older than they may become; raises StatusError."""
    await state.cache.fresh()
    oldest = state.now() - state.config.event_life
    old: list[Item] = []
    async for group in strides(list(state.cache.of(EVENT).items())):
        old += [item for item in group if _is_older(item, oldest)]
    for item in old:
        metadata = item.wire["metadata"]
        info = RequestInfo("delete", EVENT, metadata["namespace"], metadata["name"])
        try:
            await remove(state, info, item)
        except StatusError as err:
            if err.code not in (404, 409):  # else it has just been removed or updated
                raise


def _is_older(item: Item, oldest: datetime) -> bool:
    """Return True if the last write of an Event was before ``oldest``."""
    event = item.wire
    series = event.get("series") or {}
    times = (
        event["metadata"]["creationTimestamp"],
        event.get("lastTimestamp"),
        event.get("eventTime"),
        series.get("lastObservedTime"),
    )
    known = [moment for moment in map(parse_time, times) if moment]
    return max(known) < oldest
