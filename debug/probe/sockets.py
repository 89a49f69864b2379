"""Adds up TCP connections that ended: their round trips, how long they were open. Pure."""

from collections.abc import Iterable

from msgspec import Struct, structs

from debug.output import with_port
from debug.places import Place
from debug.probe.connects import MOST_ROWS
from debug.probe.events import SocketEnd
from debug.probe.histogram import Histogram, Latency
from debug.probe.naming import Names

CLIENT, SERVER = "client", "server"
_ROLES = {1: CLIENT, 2: SERVER}  # bpf/sockets.bpf.c


class Connection(Struct, frozen=True, omit_defaults=True):
    """One end of a connection that was closed.

    ``end`` is where the server is: the address that a client called, or a server's own.
    """

    node: str
    place: str  # "Pod default/web-1", "Node node1"
    role: str  # client, server
    end: str  # ADDRESS:PORT
    service: str = ""  # that was called, or of which the end is an endpoint
    owner: str = ""  # of the end, if it is no Service's
    server: str = ""  # who answered, where a Service was called and conntrack tells
    server_owner: str = ""
    trip_ms: float = 0.0  # the smoothed round trip at the end; 0 if none was measured
    least_ms: float = 0.0  # the least round trip
    open_ms: float = 0.0  # 0 if it began before somebody listened
    sent: int = 0  # bytes
    received: int = 0
    again: int = 0  # segments that were sent again


class ConnectionRow(Struct, frozen=True, omit_defaults=True):
    """Ends of connections that are alike."""

    node: str
    place: str
    role: str
    end: str
    count: int
    sent: int
    received: int
    again: int
    trip: Latency | None = None  # None where none was measured
    open: Latency | None = None  # of those that began while somebody listened
    service: str = ""
    owner: str = ""
    server: str = ""
    server_owner: str = ""


def connection(place: Place, one: SocketEnd, server: str, names: Names) -> Connection:
    """Return an end of a connection with its names; ``server`` is what conntrack says."""
    here, there = (one.source, one.source_port), (one.destination, one.port)
    role = _ROLES.get(one.role) or _guessed(one, names)
    end = here if role == SERVER else there
    called = names.service(*end)
    host = server.rpartition(":")[0].strip("[]")
    return Connection(
        *(place.node, place.name, role, with_port(*end), called or names.serving(*end)),
        "" if called else names.owner(end[0]),
        server,
        names.owner(host) if server else "",
        one.trip / 8e3,
        one.least / 1e3 if one.trip else 0.0,
        *(one.took / 1e6, one.sent, one.received, one.again),
    )


def _guessed(one: SocketEnd, names: Names) -> str:
    """Return the role of an end of a connection that is older than the measurement."""
    return SERVER if names.serving(one.source, one.source_port) else CLIENT


class _Sum:
    def __init__(self) -> None:
        self.trip, self.open = Histogram(), Histogram()
        self.count = self.sent = self.received = self.again = 0

    def add(self, one: Connection) -> None:
        self.count += 1
        self.sent += one.sent
        self.received += one.received
        self.again += one.again
        for histogram, value in ((self.trip, one.trip_ms), (self.open, one.open_ms)):
            if value:
                histogram.add(round(value * 1e6))


class ConnectionSum:
    """Takes connections, and keeps at most ``MOST_ROWS`` sorts of them."""

    def __init__(self) -> None:
        self._found: dict[Connection, _Sum] = {}
        self.left_out = 0

    def add(self, connections: Iterable[Connection]) -> None:
        """Count connections."""
        for one in connections:
            key = _sort(one)
            if key not in self._found and len(self._found) >= MOST_ROWS:
                self.left_out += 1
            else:
                self._found.setdefault(key, _Sum()).add(one)

    def rows(self) -> list[ConnectionRow]:
        """Return all sorts, the longest round trip first."""
        found = [_row(key, each) for key, each in self._found.items()]
        return sorted(found, key=lambda one: -(one.trip.most_ms if one.trip else 0))

    def by_service(self) -> dict[str, Latency]:
        """Return the round trips of each Service, as its clients had them."""
        found: dict[str, Histogram] = {}
        for key, each in self._found.items():
            if key.role == CLIENT:
                found.setdefault(key.service or key.end, Histogram()).merge(each.trip)
        return {name: found[name].latency() for name in sorted(found) if found[name]}


def _sort(one: Connection) -> Connection:
    return structs.replace(one, trip_ms=0.0, least_ms=0.0, open_ms=0.0, sent=0, received=0, again=0)


def _row(key: Connection, each: _Sum) -> ConnectionRow:
    return ConnectionRow(
        *(key.node, key.place, key.role, key.end),
        *(each.count, each.sent, each.received, each.again),
        each.trip.latency() if each.trip else None,
        each.open.latency() if each.open else None,
        *(key.service, key.owner, key.server, key.server_owner),
    )
