"""What one Pod admits in one direction, from the rules of all policies that select it: pure.

Rules of several policies add up. For a packet they become one look at its port, and one at its
peer, however many rules there are: the ports are cut into ranges that do not overlap, and each
range has one group of peers.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from msgspec import Struct

from proxy.model.values import Protocol
from proxy.policy.values import Direction, Peer, PortName, PortRange, Rule

Group = frozenset[Peer]  # peers of which one suffices
Doors = tuple[tuple[PortRange, Group | None], ...]


class NamedDoor(Struct, frozen=True):
    """Ports with a name, at the peers that have it. ``peers`` None stands for all Pods."""

    peers: Group | None
    port: PortName


class Profile(Struct, frozen=True):
    """What an isolated Pod admits. A group of None stands for everybody.

    ``always`` are admitted at every port, by every protocol. ``doors`` are ranges of ports in order
    that do not overlap, each with those admitted there beside ``always``. ``named`` are ports that
    each peer has under another number: only egress has some.
    """

    direction: Direction
    always: Group | None = frozenset()
    doors: Doors = ()
    named: frozenset[NamedDoor] = frozenset()

    def groups(self) -> Iterator[Group]:
        """Yield every group that a packet may have to be looked up in."""
        for group in {self.always, *(group for _, group in self.doors)}:
            if group:
                yield group


def profile(
    direction: Direction, rules: Iterable[Rule], own: Mapping[tuple[Protocol, str], int]
) -> Profile:
    """Add up ``rules`` for a Pod whose named ports are ``own``."""
    always: set[Peer] = set()
    spans: set[tuple[PortRange, Group | None]] = set()
    named: set[NamedDoor] = set()
    for rule in rules:
        if rule.ports is None:
            if rule.peers is None:
                return Profile(direction, None)
            always |= rule.peers
            continue
        for port in rule.ports:
            if isinstance(port, PortRange):
                spans.add((port, rule.peers))
            elif direction is Direction.EGRESS:
                named.add(NamedDoor(rule.peers, port))
            elif number := own.get((port.protocol, port.name)):
                spans.add((PortRange(port.protocol, number, number), rule.peers))
    return Profile(
        direction, frozenset(always), tuple(_doors(spans, frozenset(always))), frozenset(named)
    )


def _doors(
    spans: Iterable[tuple[PortRange, Group | None]], always: Group
) -> Iterator[tuple[PortRange, Group | None]]:
    """Cut ranges that overlap. What follows one another with the same group is one range."""
    by_protocol: dict[Protocol, list[tuple[PortRange, Group | None]]] = {}
    for span in spans:
        by_protocol.setdefault(span[0].protocol, []).append(span)
    for protocol in sorted(by_protocol):
        last: tuple[PortRange, Group | None] | None = None
        for first, end, group in _cut(by_protocol[protocol]):
            group = None if group is None else group - always
            if group is not None and not group:
                continue
            if last and last[1] == group and last[0].last + 1 == first:
                last = (PortRange(protocol, last[0].first, end), group)
                continue
            if last:
                yield last
            last = (PortRange(protocol, first, end), group)
        if last:
            yield last


def _cut(
    spans: list[tuple[PortRange, Group | None]],
) -> Iterator[tuple[int, int, Group | None]]:
    """Yield (first, last, group) of each range in which the same spans lie, one by one upwards."""
    begin: dict[int, list[Group | None]] = {}
    end: dict[int, list[Group | None]] = {}
    for port, group in spans:
        begin.setdefault(port.first, []).append(group)
        end.setdefault(port.last + 1, []).append(group)
    active: dict[Group | None, int] = {}
    places = sorted(begin.keys() | end.keys())
    for place, after in pairwise(places):
        for group in begin.get(place, ()):
            active[group] = active.get(group, 0) + 1
        for group in end.get(place, ()):
            active[group] -= 1
            if not active[group]:
                del active[group]
        if active:
            yield place, after - 1, _union(active)


def _union(groups: Iterable[Group | None]) -> Group | None:
    """Return who is in one of the groups; None, everybody, if one of them is."""
    found: set[Peer] = set()
    for group in groups:
        if group is None:
            return None
        found |= group
    return frozenset(found)
