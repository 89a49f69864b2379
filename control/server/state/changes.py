"""Wait for changes of kinds in the watch cache."""

import asyncio
from collections.abc import AsyncIterator

from control.api.kinds import Kind
from control.server.state.watch_cache import ObjectChange, WatchCache


async def changes(cache: WatchCache, *kinds: Kind) -> AsyncIterator[None]:
    """Yield once, and after objects of the kinds have changed, for ever."""
    while True:
        changed = asyncio.Event()
        ended = False

        def heard(change: ObjectChange | None, changed: asyncio.Event = changed) -> None:
            nonlocal ended
            ended = ended or change is None
            changed.set()

        caches = [cache.of(kind) for kind in kinds]
        for each in caches:
            each.listeners.add(heard)
        changed.set()
        try:
            while not ended:
                await changed.wait()
                changed.clear()
                yield
        finally:
            for each in caches:
                each.listeners.discard(heard)
