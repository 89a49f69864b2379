"""Listens on the links of several network namespaces, for packets of one Pod."""

import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from debug.places import Place, entered
from debug.trace.filters import EVERYTHING
from debug.trace.live import Match, live_filter
from debug.trace.packet import Packet, parse
from debug.trace.watch.taps import Tap, Tapped

_PATIENCE = 0.5  # seconds after which a caller may look at the clock


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which packets are meant: all that fit each of the filters."""

    filters: tuple[Match, ...]

    def fits(self, packet: Packet) -> bool:
        """Return True if a packet is meant."""
        return all(one.fits(packet) for one in self.filters)

    @property
    def program(self) -> bytes:
        """The filter of the kernel; what it lets through too much is left out later."""
        return live_filter(self.filters[-1]) if self.filters else EVERYTHING


@dataclass(frozen=True, slots=True)
class Caught:
    """A packet on a link of a place."""

    place: Place
    tapped: Tapped
    packet: Packet


class Listener:
    """Taps in some places, until it is closed. Raises OSError, PlaceError."""

    def __init__(self, places: Sequence[Place], wanted: Wanted) -> None:
        self._wanted, self._taps = wanted, list[Tap]()
        self._undo = ExitStack()
        self._selector = self._undo.enter_context(selectors.DefaultSelector())
        try:
            for place in places:
                self._listen(place)
        except BaseException:
            self.close()
            raise
        self._began = time.time_ns()

    def close(self) -> None:
        """Close all sockets."""
        self._undo.close()

    @property
    def lost(self) -> int:
        """Packets that came faster than they were read."""
        return sum(tap.lost for tap in self._taps)

    def read(self, patience: float = _PATIENCE) -> Iterator[Caught]:
        """Yield what came within some seconds, in the order of time. Raises OSError."""
        found = [
            (key.data, tapped)
            for key, _ in self._selector.select(patience)
            for tapped in key.fileobj.read()  # type: ignore[union-attr]  # a Tap
        ]
        for place, tapped in sorted(found, key=lambda one: one[1].time):
            packet = parse(tapped.data)
            # Of what came before all places were ready, only a part was seen.
            if packet and tapped.time >= self._began and self._wanted.fits(packet):
                yield Caught(place, tapped, packet)

    def _listen(self, place: Place) -> None:
        with entered(place):
            tap = Tap(self._wanted.program)
        self._undo.callback(tap.close)
        self._taps.append(tap)
        self._selector.register(tap, selectors.EVENT_READ, place)
