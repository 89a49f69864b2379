"""Lists the flows of all nodes, or follows their events, in bounded memory."""

import selectors
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime

from control.linux.errors import cause
from debug.again import Again
from debug.flows.naming import FlowFilter, FlowNames, NamedFlow
from debug.kernel.conntrack import FlowListener, table
from debug.places import Place, PlaceError, inside

_LOOK = 1.0  # seconds for which events are waited for


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
    again: Again, names: Callable[[], FlowNames], asked: FlowFilter
) -> Iterator[NamedFlow | str]:
    """Yield the events of all nodes as they come; a text says what was lost, and which nodes went.

    Nothing is kept. It ends if no node can be listened to at first. Raises OSError.
    """
    with closing(_Listeners()) as listeners:
        yield from listeners.renew(again.nodes())
        while listeners.some:
            for place, listener in listeners.ready():
                yield from _events(place, listener, names(), asked)
            yield from again.refresh()
            yield from listeners.renew(again.nodes())


class _Listeners:
    """A listener for each node that runs, and none for one that could not be listened to."""

    def __init__(self) -> None:
        self._waiting = selectors.DefaultSelector()
        self._known: dict[Place, FlowListener | None] = {}
        self.some = False  # there was one, so there may be one again

    def close(self) -> None:
        """Close all of them."""
        for place in list(self._known):
            self._forget(place)
        self._waiting.close()

    def renew(self, places: Collection[Place]) -> Iterator[str]:
        """Listen in these places and in no others; yield where that is not possible."""
        for place in self._known.keys() - set(places):
            self._forget(place)
        for place in places:
            if place in self._known:
                continue
            self._known[place] = None
            try:
                listener = inside(place, FlowListener)
            except (OSError, PlaceError) as err:
                yield unread(place, err)
                continue
            self._known[place], self.some = listener, True
            self._waiting.register(listener, selectors.EVENT_READ, (place, listener))

    def ready(self) -> Iterator[tuple[Place, FlowListener]]:
        """Yield those that have something to tell within a second."""
        for key, _ in self._waiting.select(_LOOK):
            yield key.data

    def _forget(self, place: Place) -> None:
        listener = self._known.pop(place)
        if listener is not None:
            self._waiting.unregister(listener)
            listener.close()


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
