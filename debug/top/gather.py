"""Reads the flows of all nodes again and again."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from debug.again import Again
from debug.cluster import ClusterState
from debug.flows.naming import FlowNames
from debug.kernel.conntrack import table
from debug.options import objects
from debug.places import Place, PlaceError, inside
from debug.top.count import NodeCounter, Row, Sums, merged, rows
from proxy.backends.ebpf.counters import number_of_port, portal_counts
from proxy.model.errors import KernelRefusedError

_REFRESH = 30.0  # seconds after which the objects are read again


class Top(Struct, frozen=True):
    """One interval of all nodes. ``unread`` says what could not be read, and why."""

    seconds: float
    rows: tuple[Row, ...]
    unread: tuple[str, ...] = ()


class _Objects:
    """The names, read again now and then."""

    def __init__(self, again: Again) -> None:
        self._again = again
        self.unread: list[str] = []
        self._read()

    def _read(self) -> None:
        self.unread = []
        state = objects(self._again.ground, self.unread) or ClusterState()
        self.names = FlowNames(state)
        self.numbers = {
            number_of_port(f"{'/'.join(one.key)}:{port.name}".rstrip(":"), port.protocol): (
                f"{'/'.join(one.key)}:{port.name}".rstrip(":")
            )
            for one in state.services
            for port in one.spec.ports
        }
        self._then = time.monotonic()

    def refresh(self) -> None:
        """Read them again if they are old."""
        if time.monotonic() - self._then > _REFRESH:
            self._read()


def intervals(again: Again, seconds: float) -> Iterator[Top]:
    """Yield an interval of so many seconds after the other, forever.

    A node that was started again is counted anew: what it had counted has ended with it.
    """
    known = _Objects(again)
    counters = {place: NodeCounter() for place in again.nodes()}
    then = time.monotonic()
    _read_all(counters, known)
    while True:
        time.sleep(max(0.0, seconds - (time.monotonic() - then)))
        now = time.monotonic()
        changed = again.refresh()
        counters = {place: counters.get(place) or NodeCounter() for place in again.nodes()}
        known.refresh()
        sums, owners, unread = _read_all(counters, known)
        found = rows(sums, owners, known.names, now - then)
        yield Top(now - then, tuple(found), (*changed, *known.unread, *unread))
        then = now


def _read_all(
    counters: dict[Place, NodeCounter], known: _Objects
) -> tuple[Sums, dict[tuple[str, str], str], list[str]]:
    unread: list[str] = []
    parts: list[Sums] = []
    owners: dict[tuple[str, str], str] = {}
    with ThreadPoolExecutor(max(len(counters), 1)) as pool:
        answers = pool.map(lambda at: _read(at, counters[at], known), counters)
        for (place, counter), answer in zip(counters.items(), answers, strict=True):
            if isinstance(answer, str):
                unread.append(f"{place.name}: {answer}")
                continue
            parts.append(answer[0])
            owners |= answer[1]
            if counter.left_out:
                unread.append(f"{place.name}: {counter.left_out} flows are not counted: too many")
    return merged(parts), owners, unread


def _read(
    place: Place, counter: NodeCounter, known: _Objects
) -> tuple[Sums, dict[tuple[str, str], str]] | str:
    try:
        programs = _programs(place, known)
        return inside(place, lambda: counter.take(table(), programs, known.names))
    except (OSError, PlaceError, KernelRefusedError) as err:
        return str(err)


def _programs(place: Place, known: _Objects) -> dict[str, int]:
    """Return the connections that a node's eBPF programs have counted, by Service."""
    counts = portal_counts(place.root).items()
    named = ((known.numbers.get(number), count.connections) for number, count in counts)
    return {service: count for service, count in named if service is not None}
