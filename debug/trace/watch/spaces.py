"""All listeners of all network namespaces that a packet may pass, read by one thread."""

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from debug.places import Place, PlaceError, entered, inside
from debug.trace.rules import Rules, table_name
from debug.trace.sought import Sought
from debug.trace.watch.connections import Connection
from debug.trace.watch.drops import DropListener, Dropped
from debug.trace.watch.hooked import FAMILIES, families
from debug.trace.watch.links import LinkListener
from debug.trace.watch.nftrace import NftTrace, NftTracer
from debug.trace.watch.stacked import stacked_links
from debug.trace.watch.stamps import await_stamps
from debug.trace.watch.taps import Tap, Tapped
from proxy.linux.libnftables import Libnftables
from proxy.model.errors import KernelRefusedError

_LEGACY = ("ip_tables_names", "ip6_tables_names")  # below /proc/net: tables of iptables-legacy
_OWN = Path("/proc/thread-self/ns/net")
Event = Tapped | NftTrace | Connection | Dropped
L = TypeVar("L", bound="_Listener")
_EVERY = 5.0  # seconds after which new tables are looked for


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


@dataclass(slots=True)
class PlaceRules:
    """The tables of a place: one for each family in which others have tables."""

    place: Place
    rules: Rules
    made: set[str] = field(default_factory=set)

    def missing(self, needed: bool) -> str:
        """Return the text of what is missing in this thread's namespace; ``needed`` in any case."""
        wanted = {family for family in FAMILIES if needed and family != "bridge"}
        with suppress(OSError):  # without nf_tables there is nothing to trace
            wanted |= families(table_name(os.getpid()))
        fresh = sorted(wanted - self.made)
        self.made |= wanted
        return "".join(map(self.rules, fresh))


class Watch:
    """Listens in places, with rules in those that have some, until it is closed.

    What cannot be listened to is said in ``blind``, and the others are listened to.
    """

    def __init__(self, sought: Sought) -> None:
        self.blind: list[str] = []
        self.links: dict[Place, dict[int, str]] = {}
        self._sought = sought
        self._numbers: dict[int, Place] = {}
        self._rules: list[PlaceRules] = []
        self._taps: list[tuple[Place, Tap]] = []
        self._lost: dict[int, int] = {}  # by descriptor, what was told
        self._looked = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._undo = ExitStack()
        self._undo.callback(self._selector.close)
        self._links = self._listen_to_links()

    def close(self) -> None:
        """Close all sockets; the kernel removes the rules with them."""
        self._undo.close()

    def add(self, place: Place, rules: Rules, *, needed: bool = False) -> None:
        """Listen in a place from now on; with rules for packets that meet some, or if needed."""
        try:
            with entered(place):
                number = _OWN.stat().st_ino
                self._tap(place, number)
                self._listen(place, NftTracer, "trace events of nftables")
                self._trace(PlaceRules(place, rules), needed)
                self.blind += (f"{place.name}: {line}" for line in _legacy())
                self.links[place] = dict(socket.if_nameindex())
        except PlaceError as err:
            self.blind.append(str(err))
            return
        self._numbers[number] = place

    def add_drops(self, first: int, last: int, port: int = 0) -> None:
        """Listen to what the kernel drops in the places, with a word in a range, or a port."""
        try:
            listener = DropListener(first, last, port)
        except KernelRefusedError as err:
            self.blind.append(f"why the kernel drops a packet: {err}")
            return
        self._keep(None, listener)

    def await_stamps(self) -> None:
        """Wait until packet sockets, where there are some, have the times of their packets."""
        if self._taps:
            place, _ = self._taps[0]
            try:
                inside(place, await_stamps)
            except (OSError, PlaceError) as err:
                self.blind.append(f"{place.name}: the order of the first packets: {err}")

    def trace_new_tables(self) -> None:
        """Trace rules also where there were none, as often as that is worth a look."""
        if time.monotonic() < self._looked + _EVERY:
            return
        self._looked = time.monotonic()
        for one in self._rules:
            with suppress(PlaceError), entered(one.place):
                self._trace(one, needed=False)

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
        """Say where events came faster than they were read, since this was asked last."""
        told: list[str] = []
        for key in self._selector.get_map().values():
            place, listener = key.data
            if (lost := listener.lost) > self._lost.get(key.fd, 0):
                told.append(f"{place.name if place else 'this machine'}: events were lost")
            self._lost[key.fd] = lost
        return list(dict.fromkeys(told))

    def _listen_to_links(self) -> LinkListener | None:
        """Hear all links by eBPF; None where that cannot be: then packet sockets do."""
        try:
            found = LinkListener(self._sought)
        except KernelRefusedError:
            return None
        self._keep(None, found)
        return found

    def _tap(self, place: Place, number: int) -> None:
        if self._links is None:
            self._tap_link(place, None)
            return
        self._links.add(number)
        for link in stacked_links():
            self._tap_link(place, link)

    def _tap_link(self, place: Place, link: str | None) -> None:
        tap = self._listen(place, lambda: Tap(self._sought.classic, link), "taps on links")
        if tap:
            self._taps.append((place, tap))

    def _listen(self, place: Place, make: Callable[[], L], what: str) -> L | None:
        try:
            listener = make()
        except OSError as err:
            self.blind.append(f"{place.name}: no {what}: {err.strerror}")
            return None
        self._keep(place, listener)
        return listener

    def _keep(self, place: Place | None, listener: "_Listener") -> None:
        self._undo.callback(listener.close)
        self._selector.register(listener, selectors.EVENT_READ, (place, listener))

    def _trace(self, one: PlaceRules, needed: bool) -> None:
        """Make the tables that this thread's namespace lacks."""
        wanted = one.missing(needed)
        if one not in self._rules:
            self._rules.append(one)
        if not wanted:
            return
        nft = Libnftables()
        self._undo.callback(nft.close)
        try:
            nft.commit(wanted)
        except KernelRefusedError as err:
            self.blind.append(f"{one.place.name}: rules are not traced: {err}")


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
