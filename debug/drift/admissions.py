"""Compares what programs admit by policies between two Pods of a bridge: pure.

Entries only ever admit. Profiles of ports and groups of peers have numbers that depend on what came
first, so they are compared pair by pair, as the addresses of Pods lead to them.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from debug.drift.model import ROOM, Drift, State
from proxy.backends.ebpf.installed.tables import Tables
from proxy.backends.ebpf.layout import unpack_address, unpack_admitted
from proxy.backends.ebpf.policy import (
    BLOCKS,
    DOORS,
    EVERYBODY,
    GUARD,
    NOBODY,
    PEERS,
    POSTS,
    Guard,
    unpack_door,
    unpack_post,
)
from proxy.model.values import Address

_SLOW = "its packets to Pods of this node go through the node's rules, which takes longer"
_OPEN = "it reaches, or is reached by, Pods of this node that no policy admits"
_NAMES = {NOBODY: "nobody", EVERYBODY: "everybody"}


@dataclass(frozen=True)
class _Admissions:
    """The maps of one side, by the numbers of profiles and groups."""

    posts: Mapping[Address, tuple[int, int, int, int]]
    doors: Mapping[int, dict[str, int]]  # "TCP 80-81" -> group
    members: Mapping[int, set[str]]  # addresses and networks


def _read(tables: Tables) -> _Admissions:
    doors: dict[int, dict[str, int]] = defaultdict(dict)
    members: dict[int, set[str]] = defaultdict(set)
    for key, value in tables.get(DOORS, ()):
        profile, shown = unpack_door(key)
        doors[profile][shown] = int.from_bytes(value, sys.byteorder)
    for key, _ in tables.get(PEERS, ()):
        members[int.from_bytes(key[:4], sys.byteorder)].add(str(unpack_address(key[4:])))
    for key, _ in tables.get(BLOCKS, ()):
        group, network = unpack_admitted(key)
        members[group].add(str(network))
    posts = {unpack_address(key): unpack_post(value) for key, value in tables.get(POSTS, ())}
    return _Admissions(posts, doors, members)


@dataclass
class _Comparison:
    """One node's maps. Each pair of groups or profiles is looked at once."""

    node: str
    want: _Admissions
    have: _Admissions
    owner: Callable[[str], str]
    seen: set[tuple[str, int, int]] = field(default_factory=set)

    def drift(self, state: State, table: str, what: str, owner: str, why: str = "") -> Drift:
        consequence = why or (_SLOW if state is State.MISSING else _OPEN)
        return Drift(self.node, state, "map", f"map {table}: {what}", owner, consequence)

    def posts(self) -> Iterator[Drift]:
        """Yield what differs of each Pod's address."""
        want, have = self.want.posts, self.have.posts
        for address in sorted(want.keys() - have.keys(), key=str):
            yield self.drift(State.MISSING, POSTS, str(address), self.owner(str(address)))
        for address in sorted(have.keys() - want.keys(), key=str):
            yield self.drift(State.STALE, POSTS, str(address), self.owner(str(address)) or "no Pod")
        for address in sorted(want.keys() & have.keys(), key=str):
            owner = self.owner(str(address))
            for way, at in (("egress", 0), ("ingress", 2)):
                shown = f"{address} ({way})"
                yield from self.profile(shown, owner, want[address][at], have[address][at])
                ends = want[address][at + 1], have[address][at + 1]
                yield from self.group(POSTS, f"{shown}, all ports", owner, *ends)

    def profile(self, shown: str, owner: str, want: int, have: int) -> Iterator[Drift]:
        """Yield what differs between two profiles of ports; 0 has none."""
        if ("profile", want, have) in self.seen:
            return
        self.seen.add(("profile", want, have))
        wanted, present = self.want.doors.get(want, {}), self.have.doors.get(have, {})
        for door in sorted(wanted.keys() - present.keys()):
            yield self.drift(State.MISSING, DOORS, f"{shown}, profile {have}: {door}", owner)
        for door in sorted(present.keys() - wanted.keys()):
            yield self.drift(State.STALE, DOORS, f"{shown}, profile {have}: {door}", owner)
        for door in sorted(wanted.keys() & present.keys()):
            ends = wanted[door], present[door]
            yield from self.group(DOORS, f"{shown}, {door}", owner, *ends)

    def group(self, table: str, shown: str, owner: str, want: int, have: int) -> Iterator[Drift]:
        """Yield what differs between two groups that a table names.

        Nobody and everybody are groups without members.
        """
        if (
            want == have == NOBODY
            or want == have == EVERYBODY
            or ("group", want, have) in self.seen
        ):
            return
        self.seen.add(("group", want, have))
        if {want, have} & _NAMES.keys():
            what = f"{shown}: {_NAMES.get(have, f'group {have}')}"
            state = State.MISSING if have == NOBODY else State.FOREIGN
            yield self.drift(state, table, f"{what}, not {_NAMES.get(want, 'some peers')}", owner)
            return
        wanted, present = self.want.members.get(want, set()), self.have.members.get(have, set())
        for state, members in (
            (State.MISSING, wanted - present),
            (State.STALE, present - wanted),
        ):
            for one in sorted(members):
                named = self.owner(one)
                what = f"{shown}, group {have}: {one}" + (f" ({named})" if named else "")
                yield self.drift(state, BLOCKS if "/" in one else PEERS, what, owner)

    def left_over(self) -> Iterator[Drift]:
        """Yield profiles and groups to which no Pod's address leads."""
        for sort, table, numbers in (
            ("profile", DOORS, self.have.doors),
            ("group", PEERS, self.have.members),
        ):
            used = {have for one, _, have in self.seen if one == sort}
            for number in sorted(numbers.keys() - used):
                yield self.drift(State.STALE, table, f"{sort} {number}", "no Pod", ROOM)


def admission_drift(
    node: str, want: Tables, have: Tables, owner: Callable[[str], str]
) -> Iterator[Drift]:
    """Yield what differs in the maps of policies. ``owner`` names an address with its policies."""
    comparing = _Comparison(node, _read(want), _read(have), owner)
    guard = Guard(dict(have.get(GUARD, ())).get(bytes(4), bytes(4))[0])
    if guard is not Guard.ENFORCING:
        why = "frames between two Pods of this node pass whatever policies say"
        what = f"{guard.name.lower()}, not enforcing"
        yield comparing.drift(State.FOREIGN, GUARD, what, "every policy", why)
    yield from comparing.posts()
    yield from comparing.left_over()
