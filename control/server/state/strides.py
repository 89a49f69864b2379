"""Go through many objects without keeping others waiting."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from control.server.wire.item import Item

# At most some 10 ms to decode them.
ITEMS, BYTES = 200, 256 * 1024


async def strides(items: Iterable[Item]) -> AsyncIterator[list[Item]]:
    """Yield objects in groups that are small in number and bytes, and let others run in between."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += item.size
        if len(group) >= ITEMS or size >= BYTES:
            yield group
            group, size = [], 0
            await asyncio.sleep(0)
    if group:
        yield group
