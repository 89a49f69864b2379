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
        self._wanted, self._taps = wanted, list[tuple[Place, Tap]]()
        self._held: list[tuple[Place, Tapped]] = []  # came while others were read
        self._stamps = False  # the kernel stamps packets as they come
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
        return sum(tap.lost for _, tap in self._taps)

    def read(self, patience: float = _PATIENCE) -> Iterator[Caught]:
        """Yield what came within some seconds, in the order of time. Raises OSError."""
        self._selector.select(0 if self._held else patience)
        for place, tapped in sorted(self._taken(), key=lambda one: one[1].time):
            packet = parse(tapped.data)
            # Of what came before all places were ready, only a part was seen.
            if packet and tapped.time >= self._began and self._wanted.fits(packet):
                yield Caught(place, tapped, packet)

    def _taken(self) -> list[tuple[Place, Tapped]]:
        """Read all taps. A packet that came meanwhile waits for those before it on other links."""
        now, known = time.time_ns(), self._held
        found = [(place, one) for place, tap in self._taps for one in tap.read()]
        if not self._stamps:
            self._await_stamps([one for _, one in found])
        self._held = [one for one in found if one[1].time > now]
        return known + [one for one in found if one[1].time <= now]

    def _await_stamps(self, found: list[Tapped]) -> None:
        """Begin after the last packet that has no time of its own."""
        self._began = max((self._began, *(one.time + 1 for one in found if one.late)))
        self._stamps = not all(one.late for one in found)

    def _listen(self, place: Place) -> None:
        with entered(place):
            tap = Tap(self._wanted.program)
        self._undo.callback(tap.close)
        self._taps.append((place, tap))
        self._selector.register(tap, selectors.EVENT_READ)
