"""Adds up TCP connects: who called whom, how it ended, how long it took. Pure."""

import errno
import os
from collections.abc import Iterable
from typing import ClassVar

from msgspec import Struct

from debug.output import with_port
from debug.places import Place
from debug.probe.events import SocketEvent
from debug.probe.histogram import Histogram, Latency
from debug.probe.naming import Names

MOST_ROWS = 10_000
CONNECTED, WAITING = "connected", "waiting"
_ESTABLISHED, _SYN_SENT = 1, 2  # include/net/tcp_states.h
_ENDS = {
    0: "given up",  # by the program
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timed out",
    errno.EHOSTUNREACH: "no way to it",
    errno.ENETUNREACH: "no way to it",
    errno.ECONNRESET: "given up",  # the kernel's word for a socket that was disconnected
}


class Connect(Struct, frozen=True, omit_defaults=True):
    """One connect. ``service`` was called, or is one of the endpoint that was called directly."""

    node: str
    client: str  # "Pod default/web-1", "Node node1"
    called: str  # ADDRESS:PORT
    outcome: str  # connected, refused, timed out, given up, waiting; other errors in words
    service: str = ""  # namespace/name:port
    owner: str = ""  # who has the called address, if it is no Service's
    server: str = ""  # who answers, ADDRESS:PORT, where a Service was called and conntrack tells
    server_owner: str = ""
    took_ms: float = 0.0
    command: str = ""
    pid: int = 0


class ConnectRow(Struct, frozen=True, omit_defaults=True):
    """Connects that are alike."""

    node: str
    client: str
    called: str
    outcome: str
    latency: Latency
    service: str = ""
    owner: str = ""
    server: str = ""
    server_owner: str = ""


def connect(place: Place, one: SocketEvent, server: str, names: Names) -> Connect:
    """Return an event with its names; ``server`` is what conntrack says."""
    service = names.service(one.destination, one.port)
    host = server.rpartition(":")[0].strip("[]")
    return Connect(
        place.node,
        place.name,
        with_port(one.destination, one.port),
        _outcome(one),
        service or names.serving(one.destination, one.port),
        "" if service else names.owner(one.destination),
        server,
        names.owner(host) if server else "",
        one.took / 1e6,
        one.command,
        one.pid,
    )


def _outcome(one: SocketEvent) -> str:
    if one.state == _ESTABLISHED:
        return CONNECTED
    if one.state == _SYN_SENT:
        return WAITING
    return _ENDS.get(one.error) or os.strerror(one.error)


Key = tuple[str, str, str, str, str, str, str, str]


class ConnectSum:
    """Takes connects, and keeps at most ``MOST_ROWS`` sorts of them."""

    header: ClassVar = ("NODE", "CLIENT", "CALLED", "ANSWERS", "OUTCOME")

    def __init__(self) -> None:
        self._found: dict[Key, Histogram] = {}
        self.left_out = 0

    def add(self, connects: Iterable[Connect]) -> None:
        """Count connects."""
        for one in connects:
            key = (
                *(one.node, one.client, one.called, one.outcome),
                *(one.service, one.owner, one.server, one.server_owner),
            )
            if key not in self._found and len(self._found) >= MOST_ROWS:
                self.left_out += 1
                continue
            self._found.setdefault(key, Histogram()).add(round(one.took_ms * 1e6))

    def rows(self) -> list[ConnectRow]:
        """Return all sorts, the slowest first."""
        found = [
            ConnectRow(*key[:4], each.latency(), *key[4:]) for key, each in self._found.items()
        ]
        return sorted(found, key=lambda one: -one.latency.most_ms)

    def by_service(self) -> dict[str, Latency]:
        """Return how long the connects of each Service took that were answered."""
        found: dict[str, Histogram] = {}
        for (_, _, called, outcome, service, *_), each in self._found.items():
            if outcome == CONNECTED:
                found.setdefault(service or called, Histogram()).merge(each)
        return {name: found[name].latency() for name in sorted(found)}
