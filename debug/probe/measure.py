"""The four measures: each reads what its program tells, names it, and adds it up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from msgspec import Struct

from debug.places import Place
from debug.probe.connects import Connect, ConnectRow, ConnectSum, connect
from debug.probe.drops import DropRow, grown, reason_names, rows
from debug.probe.events import (
    CONNECTS,
    DROPS,
    RETRANSMITS,
    SOCKETS,
    Probe,
    SocketEnd,
    SocketEvent,
    drops,
    event,
    socket_end,
)
from debug.probe.histogram import Latency
from debug.probe.means import Means
from debug.probe.naming import Arrivals, Scene
from debug.probe.retransmits import Retransmit, RetransmitSum, retransmit
from debug.probe.sockets import Connection, ConnectionRow, ConnectionSum, connection
from debug.probe.wanted import Wanted

_TICK = 0.1  # seconds between two readings
_EVENT_SIZE, _SOCKET = 88, 8  # bytes: bpf/event.h
_DROP, _DROPPED = 40, 16  # bytes: bpf/drops.bpf.c
_INTERVAL = 1.0  # seconds between two readings of the table of drops
ALL = Wanted()
Placed = list[tuple[Place, SocketEvent]]


class Measure(Protocol):
    """What a probe has found so far; ``left_out`` is how much is in no row."""

    @property
    def probe(self) -> Probe: ...
    @property
    def count(self) -> int: ...
    @property
    def left_out(self) -> int: ...

    def read(self) -> Sequence[Struct]: ...
    def finish(self) -> None: ...
    def rows(self) -> Sequence[Struct]: ...
    def by_service(self) -> dict[str, Latency]: ...


class ConnectMeasure:
    """Connects: by events, and at the end those that still wait. Raises KernelRefusedError."""

    probe = CONNECTS

    def __init__(self, means: Means, scene: Scene, wanted: Wanted = ALL) -> None:
        self._means, self._scene, self._wanted = means, scene, wanted
        self._arrivals = Arrivals[SocketEvent](scene)
        self._sum = ConnectSum()
        self.count = 0

    @property
    def left_out(self) -> int:
        """How many connects are in no row."""
        return self._sum.left_out

    def read(self) -> list[Connect]:
        """Return the connects that ended since the last call."""
        return self._take(self._arrivals.placed(map(event, self._means.events(_TICK))))

    def finish(self) -> None:
        """Add the connects that wait for an answer, with how long they have."""
        now = time.monotonic_ns()
        begun = (event(value) for _, value in self._means.entries("begun", _SOCKET, _EVENT_SIZE))
        waiting = (replace(one, took=max(now - one.time, 0)) for one in begun)
        self._take(self._arrivals.placed(waiting))

    def rows(self) -> list[ConnectRow]:
        """Return all sorts of connects, the slowest first."""
        return self._sum.rows()

    def by_service(self) -> dict[str, Latency]:
        """Return how long the connects of each Service took that were answered."""
        return self._sum.by_service()

    def _take(self, placed: Placed) -> list[Connect]:
        names = self._scene.names
        servers = self._scene.answering(placed)
        every = (connect(place, one, servers.get(one, ""), names) for place, one in placed)
        found = [*filter(self._wanted.admits, every)]
        self._sum.add(found)
        self.count += len(found)
        return found


class SocketMeasure:
    """Connections that ended. Raises KernelRefusedError."""

    probe = SOCKETS

    def __init__(self, means: Means, scene: Scene, wanted: Wanted = ALL) -> None:
        self._means, self._scene, self._wanted = means, scene, wanted
        self._arrivals = Arrivals[SocketEnd](scene)
        self._sum = ConnectionSum()
        self.count = 0

    @property
    def left_out(self) -> int:
        """How many connections are in no row."""
        return self._sum.left_out

    def read(self) -> list[Connection]:
        """Return the connections that ended since the last call."""
        placed = self._arrivals.placed(map(socket_end, self._means.events(_TICK)))
        servers = self._scene.answering(placed)
        names = self._scene.names
        every = (connection(place, one, servers.get(one, ""), names) for place, one in placed)
        found = [*filter(self._wanted.admits, every)]
        self._sum.add(found)
        self.count += len(found)
        return found

    def finish(self) -> None:
        """Add nothing: all was told."""

    def rows(self) -> list[ConnectionRow]:
        """Return all sorts of connections, the longest round trip first."""
        return self._sum.rows()

    def by_service(self) -> dict[str, Latency]:
        """Return the round trips of each Service, as its clients had them."""
        return self._sum.by_service()


class RetransmitMeasure:
    """Segments that were sent again. Raises KernelRefusedError."""

    probe = RETRANSMITS

    def __init__(self, means: Means, scene: Scene, wanted: Wanted = ALL) -> None:
        self._means, self._scene, self._wanted = means, scene, wanted
        self._arrivals = Arrivals[SocketEvent](scene)
        self._sum = RetransmitSum()
        self.count = 0

    @property
    def left_out(self) -> int:
        """How many segments are in no row."""
        return self._sum.left_out

    def read(self) -> list[Retransmit]:
        """Return what was sent again since the last call."""
        placed = self._arrivals.placed(map(event, self._means.events(_TICK)))
        every = (retransmit(place, one, self._scene.names) for place, one in placed)
        found = [*filter(self._wanted.admits, every)]
        self._sum.add(found)
        self.count += len(found)
        return found

    def finish(self) -> None:
        """Add nothing: all was told."""

    def rows(self) -> list[Retransmit]:
        """Return all sorts of segments, the most packets first."""
        return self._sum.rows()

    def by_service(self) -> dict[str, Latency]:
        """Return nothing: it measures no time."""
        return {}


class DropMeasure:
    """Packets that the kernel dropped: its own table, read once a second.

    Raises KernelRefusedError.
    """

    probe = DROPS
    left_out = 0

    def __init__(self, means: Means, scene: Scene, wanted: Wanted = ALL) -> None:
        self._means, self._scene, self._wanted = means, scene, wanted
        self._reasons = reason_names()
        self._rows: list[DropRow] = []
        self._read_at = time.monotonic()

    @property
    def count(self) -> int:
        """How many packets were dropped until the last reading."""
        return sum(one.packets for one in self._rows)

    def read(self) -> list[DropRow]:
        """Return what was dropped since the last reading, if a second has passed."""
        self._means.events(_TICK)
        return self._again() if time.monotonic() >= self._read_at + _INTERVAL else []

    def finish(self) -> None:
        """Read the table for the last time."""
        self._again()

    def rows(self) -> list[DropRow]:
        """Return all sorts of drops, the most packets first."""
        return self._rows

    def by_service(self) -> dict[str, Latency]:
        """Return nothing: it measures no time."""
        return {}

    def _again(self) -> list[DropRow]:
        self._read_at = time.monotonic()
        entries = [*drops(self._means.entries("drops", _DROP, _DROPPED))]
        self._scene.meet(one.netns for one in entries)
        before = self._rows
        every = rows(entries, self._scene.place, self._scene.names, self._reasons)
        self._rows = [*filter(self._wanted.admits, every)]
        return [*grown(before, self._rows)]


MEASURES: dict[str, Callable[[Means, Scene, Wanted], Measure]] = {
    "connects": ConnectMeasure,
    "sockets": SocketMeasure,
    "retransmits": RetransmitMeasure,
    "drops": DropMeasure,
}
PROBES = {one.name: one for one in (CONNECTS, SOCKETS, RETRANSMITS, DROPS)}
