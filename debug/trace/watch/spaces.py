"""All listeners of all network namespaces that a packet may pass, read by one thread."""

import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from debug.places import Place, PlaceError, entered
from debug.trace.filters import EVERYTHING
from debug.trace.watch.connections import Connection, ConnectionListener
from debug.trace.watch.drops import DropListener, Dropped
from debug.trace.watch.nftrace import NftTrace, NftTracer
from debug.trace.watch.taps import Tap, Tapped
from proxy.linux.libnftables import Libnftables
from proxy.model.errors import KernelRefusedError

_LEGACY = ("ip_tables_names", "ip6_tables_names")  # below /proc/net: tables of iptables-legacy
_OWN = Path("/proc/thread-self/ns/net")
Event = Tapped | NftTrace | Connection | Dropped
L = TypeVar("L", bound="_Listener")


class _Listener(Protocol):
    @property
    def lost(self) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def read(self) -> Sequence[Event]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, and where it was."""

    place: Place
    event: Event


class Watch:
    """Listens in places, with ``rules`` (nft's text) in each, until it is closed.

    What cannot be listened to is said in ``blind``, and the others are listened to.
    """

    def __init__(self, program: bytes, connections: bytes = EVERYTHING) -> None:
        """``program`` is the filter of the taps, ``connections`` that of conntrack's events."""
        self.blind: list[str] = []
        self.links: dict[Place, dict[int, str]] = {}
        self._program, self._connections = program, connections
        self._numbers: dict[int, Place] = {}
        self._selector = selectors.DefaultSelector()
        self._undo = ExitStack()
        self._undo.callback(self._selector.close)

    def close(self) -> None:
        """Close all sockets; the kernel removes the rules with them."""
        self._undo.close()

    def add(self, place: Place, rules: str) -> None:
        """Listen in a place from now on."""
        try:
            with entered(place):
                tap = self._listen(place, lambda: Tap(self._program), "taps on links")
                self._listen(place, NftTracer, "trace events of nftables")
                listen = partial(ConnectionListener, self._connections)
                self._listen(place, listen, "events of conntrack")
                self._trace(place, rules)
                self.blind += (f"{place.name}: {line}" for line in _legacy())
                number = _OWN.stat().st_ino
        except PlaceError as err:
            self.blind.append(str(err))
            return
        self.links[place] = tap.names if tap else {}
        self._numbers[number] = place

    def add_drops(self, first: int, last: int, port: int = 0) -> None:
        """Listen to what the kernel drops in the places, with a word in a range, or a port."""
        try:
            listener = DropListener(first, last, port)
        except KernelRefusedError as err:
            self.blind.append(f"why the kernel drops a packet: {err}")
            return
        self._undo.callback(listener.close)
        self._selector.register(listener, selectors.EVENT_READ, (None, listener))

    def read(self, seconds: float) -> list[Seen]:
        """Return the events that come within some seconds, as soon as there are any."""
        found: list[Seen] = []
        for key, _ in self._selector.select(seconds):
            place, listener = key.data
            for event in listener.read():
                where = place or self._numbers.get(event.netns)
                found += [Seen(where, event)] if where else []
        return found

    def lost(self) -> list[str]:
        """Say where events came faster than they were read."""
        keys = [key.data for key in self._selector.get_map().values()]
        return [f"{place.name}: events were lost" for place, one in keys if place and one.lost]

    def _listen(self, place: Place, make: Callable[[], L], what: str) -> L | None:
        try:
            listener = make()
        except OSError as err:
            self.blind.append(f"{place.name}: no {what}: {err.strerror}")
            return None
        self._undo.callback(listener.close)
        self._selector.register(listener, selectors.EVENT_READ, (place, listener))
        return listener

    def _trace(self, place: Place, rules: str) -> None:
        nft = Libnftables()
        self._undo.callback(nft.close)
        try:
            nft.commit(rules)
        except KernelRefusedError as err:
            self.blind.append(f"{place.name}: rules are not traced: {err}")


def until(deadline: float) -> float:
    """Return the seconds until a time of the monotonic clock, at least 0."""
    return max(0.0, deadline - time.monotonic())


def _legacy() -> Iterator[str]:
    """Say which rules of iptables-legacy are here, whose verdicts no event tells."""
    for name in _LEGACY:
        try:
            tables = (Path("/proc/thread-self/net") / name).read_text().split()
        except OSError:
            continue  # this kernel has none
        if tables:
            tool = "ip6tables" if name.startswith("ip6") else "iptables"
            yield f"{tool}-legacy has rules (tables {', '.join(tables)}), which cannot be traced"
