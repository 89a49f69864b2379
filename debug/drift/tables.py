"""Compares the tables of podwire's eBPF programs with the desired ones: pure.

Frontends share pools of endpoints by number, and numbers depend on what came first. So pools are
compared pair by pair, as frontends lead to them, and an entry that no frontend leads to is stale.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from debug.cluster import Names
from debug.drift.model import ROOM, Drift, State
from debug.output import with_port
from proxy.backends.ebpf.installed.tables import Entries, Tables
from proxy.backends.ebpf.layout import (
    LASTING,
    ForwardEntry,
    Pool,
    unpack_address,
    unpack_admitted,
    unpack_forward,
    unpack_member,
    unpack_row,
    unpack_slot,
    unpack_target,
)
from proxy.model.values import PROTOCOL_NUMBERS, Network, Target

T = TypeVar("T")
_PROTOCOLS = {code: one for one, code in PROTOCOL_NUMBERS.items()}
_FIELDS = ("affinity", "masquerade", "rejects", "by_nftables", "direct", "least_connections")
_LOST = {
    "frontends": "the programs do not know it: its calls meet nftables' rules",
    "endpoints": "a part of its connections finds no endpoint",
    "members": "connected UDP sockets to it are sent elsewhere, or Pods do not reach themselves",
    "ranges": "clients of this range are refused",
    "node_addresses": "NodePorts do not answer at this address",
}
_ADDED = {
    "frontends": "calls to this address are taken from who has it",
    "endpoints": "a part of its connections goes there",
    "members": "UDP sockets stay with an endpoint that is none",
    "ranges": "clients of this range are let in",
    "node_addresses": "calls to this address are taken for NodePorts",
}


@dataclass(frozen=True)
class _Pools:
    """The parts that frontends share, by their numbers."""

    slots: Mapping[int, dict[int, Target]]
    seats: Mapping[int, dict[int, tuple[int, ...]]]
    members: Mapping[int, dict[Target, int]]
    ranges: Mapping[int, set[Network]]

    def seated(self, number: int) -> list[Target | None]:
        """The endpoint of each seat of a pool, where balancing is by hash."""
        slots, rows = self.slots.get(number, {}), self.seats.get(number, {})
        return [slots.get(slot) for row in sorted(rows) for slot in rows[row]]


def _read(tables: Tables) -> _Pools:
    slots: dict[int, dict[int, Target]] = defaultdict(dict)
    seats: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    members: dict[int, dict[Target, int]] = defaultdict(dict)
    ranges: dict[int, set[Network]] = defaultdict(set)
    for key, value in tables.get("endpoints", ()):
        pool, slot = unpack_slot(key)
        slots[pool][slot] = Target.of(*unpack_target(value)[:2])
    for key, value in tables.get("seats", ()):
        pool, row = unpack_slot(key)
        seats[pool][row] = unpack_row(value)
    for key, value in tables.get("members", ()):
        pool, target = unpack_member(key)
        members[pool][target] = value[0]
    for key, _ in tables.get("ranges", ()):
        number, network = unpack_admitted(key)
        ranges[number].add(network)
    return _Pools(slots, seats, members, ranges)


@dataclass
class _Comparison:
    """One node's tables. Each pair of pools is looked at once."""

    node: str
    want: _Pools
    have: _Pools
    names: Names
    owners: Mapping[bytes, str]
    seen: set[tuple[str, int, int]] = field(default_factory=set)
    used: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def drift(self, state: State, table: str, what: str, owner: str, why: str = "") -> Drift:
        consequence = why or (_LOST if state is State.MISSING else _ADDED)[table]
        return Drift(self.node, state, "map", f"map {table}: {what}", owner, consequence)

    def is_new(self, sort: str, want: int, have: int) -> bool:
        """Return True for a pair that was not compared yet."""
        self.used[sort].add(have)
        pair = sort, want, have
        if pair in self.seen:
            return False
        self.seen.add(pair)
        return True

    def frontend(self, key: bytes, want: ForwardEntry, have: ForwardEntry) -> Iterator[Drift]:
        """Yield what differs between two entries of a frontend."""
        shown, owner = _frontend(key), self.owners.get(key, "")
        for name in _FIELDS:
            wanted, present = getattr(want, name), getattr(have, name)
            if wanted != present:
                what = f"{shown}: {name} {_word(present)}, not {_word(wanted)}"
                why = "its calls are not treated as the Service says"
                yield self.drift(State.FOREIGN, "frontends", what, owner, why)
        if want.portal != have.portal:
            what = f"{shown}: the number of another Service's port"
            why = "its connections count for another Service, and clients lose their endpoint"
            yield self.drift(State.FOREIGN, "frontends", what, owner, why)
        for name in ("pool", "inside"):
            yield from self.pool(
                f"{shown} ({name})", owner, getattr(want, name), getattr(have, name)
            )
        yield from self.sources(shown, owner, want.ranges, have.ranges)

    def pool(self, shown: str, owner: str, want: Pool | None, have: Pool | None) -> Iterator[Drift]:
        """Yield what differs between two pools of endpoints."""
        if want is None or have is None:
            if want is not have:
                what = f"{shown}: {'missing' if have is None else 'not wanted'}"
                state = State.MISSING if have is None else State.FOREIGN
                yield self.drift(state, "endpoints", what, owner)
            return
        if not self.is_new("pool", want.number, have.number):
            return
        if want.count != have.count:
            what, why = f"{shown}: {have.count} seats, not {want.count}", _LOST["endpoints"]
            yield self.drift(State.FOREIGN, "frontends", what, owner, why)
        of = f"{shown}, pool {have.number}"
        wanted, present = (
            Counter(one.slots.get(at, {}).values()) for one, at in self._sides(want, have)
        )
        yield from self._differ("endpoints", of, owner, wanted, present)
        members = (
            Counter(_members(one.members.get(at, {}))) for one, at in self._sides(want, have)
        )
        yield from self._differ("members", of, owner, *members)
        seats = self.want.seated(want.number), self.have.seated(have.number)
        if wanted == present and seats[0] != seats[1]:
            why = "nodes choose other endpoints for the same client"
            yield self.drift(State.FOREIGN, "seats", f"{of}: others than by hash", owner, why)

    def _sides(self, want: Pool, have: Pool) -> Iterator[tuple[_Pools, int]]:
        yield self.want, want.number
        yield self.have, have.number

    def sources(self, shown: str, owner: str, want: int, have: int) -> Iterator[Drift]:
        """Yield what differs between two lists of source ranges; 0 admits all."""
        if bool(want) != bool(have):
            what = f"{shown}: {'every source' if want else 'only some sources'}"
            why = _ADDED["ranges"] if want else _LOST["ranges"]
            yield self.drift(State.FOREIGN, "ranges", what, owner, why)
        elif want and self.is_new("ranges", want, have):
            ends = (
                Counter(self.want.ranges.get(want, ())),
                Counter(self.have.ranges.get(have, ())),
            )
            yield from self._differ("ranges", f"{shown}, ranges {have}", owner, *ends)

    def _differ(
        self, table: str, of: str, owner: str, want: Counter[T], have: Counter[T]
    ) -> Iterator[Drift]:
        for one in want - have:
            yield self.drift(State.MISSING, table, f"{of}: {one}", self._named(one, owner))
        for one in have - want:
            yield self.drift(State.STALE, table, f"{of}: {one}", self._named(one, owner))

    def _named(self, one: object, owner: str) -> str:
        """The owner of an entry: the Service, and the Pod whose address it has."""
        pod = self.names.of(one.host) if isinstance(one, Target) else ""
        return f"{owner}, {pod}" if owner and pod else owner or pod

    def left_over(self) -> Iterator[Drift]:
        """Yield entries to which no frontend leads."""
        pools = {*self.have.slots, *self.have.seats, *self.have.members}
        for sort, table, numbers in (
            ("pool", "endpoints", pools),
            ("ranges", "ranges", self.have.ranges),
        ):
            for number in sorted(set(numbers) - self.used[sort]):
                what = f"{'pool' if sort == 'pool' else 'ranges'} {number}, with all entries of it"
                yield self.drift(State.STALE, table, what, "no frontend", ROOM)


def service_drift(
    node: str, want: Tables, have: Tables, names: Names, owners: Mapping[bytes, str]
) -> Iterator[Drift]:
    """Yield what differs in the tables by which programs balance.

    ``owners`` has the Service of each wanted frontend, by its key.
    """
    comparing = _Comparison(node, _read(want), _read(have), names, owners)
    wanted, present = (dict(one.get("frontends", ())) for one in (want, have))
    for key in sorted(wanted.keys() - present.keys()):
        yield comparing.drift(State.MISSING, "frontends", _frontend(key), owners.get(key, ""))
    for key in sorted(present.keys() - wanted.keys()):
        forward = unpack_forward(present[key])
        comparing.used["pool"] |= {one.number for one in (forward.pool, forward.inside) if one}
        comparing.used["ranges"].add(forward.ranges)
        owner = _owner(key, names) or "no Service"
        yield comparing.drift(State.STALE, "frontends", _frontend(key), owner)
    for key in sorted(wanted.keys() & present.keys()):
        pair = unpack_forward(wanted[key]), unpack_forward(present[key])
        yield from comparing.frontend(key, *pair)
    yield from comparing.left_over()
    told = partial(comparing.drift, owner=f"Node {node}")
    yield from _addresses(want.get("node_addresses", ()), have.get("node_addresses", ()), told)
    if want.get("settings", ()) != have.get("settings", ()):
        why = "Pods, loopback or hashing are not treated as the proxy's options say"
        yield told(State.FOREIGN, "settings", "others than the proxy's options", why=why)


def _addresses(want: Entries, have: Entries, told: Callable[..., Drift]) -> Iterator[Drift]:
    wanted, present = ({key for key, _ in one} for one in (want, have))
    for state, keys in ((State.MISSING, wanted - present), (State.STALE, present - wanted)):
        for key in sorted(keys):
            yield told(state, "node_addresses", str(unpack_address(key)))


def _members(found: Mapping[Target, int]) -> Iterable[object]:
    """Members as they are shown: port 0 stands for a Pod that may call itself."""
    for target, membership in found.items():
        yield f"{target} (lasting)" if membership == LASTING[0] else target


def _frontend(key: bytes) -> str:
    address, port, protocol = unpack_target(key)
    shown = f"*:{port}" if address.is_unspecified else with_port(str(address), port)
    return f"{shown}/{_PROTOCOLS.get(protocol, protocol)}"


def _owner(key: bytes, names: Names) -> str:
    return names.of(str(unpack_target(key)[0]))


def _word(value: object) -> str:
    return getattr(value, "name", str(value)).lower()
