"""Lists the flows of all nodes, or follows their events, in bounded memory."""

import selectors
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

from control.linux.errors import cause
from debug.flows.naming import FlowFilter, FlowNames, NamedFlow
from debug.kernel.conntrack import FlowListener, table
from debug.places import Place, PlaceError, inside


def listed(
    place: Place, names: FlowNames, asked: FlowFilter, most: int
) -> tuple[list[NamedFlow], int]:
    """Return at most so many flows of a node, and how many more there are.

    Raises OSError, PlaceError.
    """

    def read() -> tuple[list[NamedFlow], int]:
        kept: list[NamedFlow] = []
        more = 0
        for flow in table():
            if asked.admits_raw(flow) and asked.admits(named := names.named(place.node, flow)):
                if len(kept) < most:
                    kept.append(named)
                else:
                    more += 1
        return kept, more

    return inside(place, read)


def unread(place: Place, err: Exception) -> str:
    """Say why a node's flows are not known: it has stopped, or its kernel tracks nothing."""
    return f"{place.name} cannot be read: {cause(err)}"


def follow(
    places: tuple[Place, ...], names: FlowNames, asked: FlowFilter
) -> Iterator[NamedFlow | str]:
    """Yield the events of all nodes as they come; a text says what was lost.

    Nothing is kept. It ends if no node can be listened to. Raises OSError.
    """
    with ExitStack() as opened, selectors.DefaultSelector() as waiting:
        for place in places:
            try:
                listener = inside(place, FlowListener)
            except (OSError, PlaceError) as err:
                yield unread(place, err)
                continue
            opened.callback(listener.close)
            waiting.register(listener, selectors.EVENT_READ, (place, listener))
        while waiting.get_map():
            for key, _ in waiting.select():
                place, listener = key.data
                yield from _events(place, listener, names, asked)


def _events(
    place: Place, listener: FlowListener, names: FlowNames, asked: FlowFilter
) -> Iterator[NamedFlow | str]:
    lost = listener.lost
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for happening, flow in listener.read():
        if asked.admits_raw(flow):
            named = names.named(place.node, flow, happening.value, now)
            if asked.admits(named):
                yield named
    if listener.lost > lost:
        yield f"{place.name}: events came faster than they were read; some are lost"
