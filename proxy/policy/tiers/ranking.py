"""What one tier of ClusterNetworkPolicies says of one Pod in one direction: pure.

Rules have an order: the first that fits decides. For a packet they become one look at its port and
two at its peer, however many rules there are: the ports are cut into ranges that do not overlap,
and each range has a ladder, the rules for it without their ports.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from proxy.model.values import Protocol
from proxy.policy.profile import Group, Profile
from proxy.policy.values import Action, Direction, OrderedRule, PortName, PortRange

Step = tuple[Group | None, Action]
Steps = tuple[Step, ...]


class Ladder(Struct, frozen=True):
    """Steps in order: the first whose group has the peer decides, and without one it is PASS.

    A group of None has everybody; only the last step may be such.
    """

    direction: Direction
    steps: Steps = ()

    @property
    def settled(self) -> Action | None:
        """The answer for every peer, if it is the same for all."""
        if not self.steps:
            return Action.PASS
        group, action = self.steps[0]
        return action if group is None else None


class Ranking(Struct, frozen=True):
    """A tier's rules for one Pod. ``doors`` are ranges of ports with ladders of their own, in
    order, that do not overlap; at other ports, and without one, ``anywhere`` counts.

    ``exact`` are all rules, if some are about ports that each peer has under another number: for
    those peers' ports they are read before the doors. Only egress has some.
    """

    direction: Direction
    anywhere: Ladder
    doors: tuple[tuple[PortRange, Ladder], ...] = ()
    exact: tuple[OrderedRule, ...] = ()

    def ladders(self) -> Iterator[Ladder]:
        """Yield every ladder that a packet may have to be looked up in."""
        for one in {self.anywhere, *(ladder for _, ladder in self.doors)}:
            if one.settled is None:
                yield one


class Course(NamedTuple):
    """All that a Pod's packets pass in one direction, where ClusterNetworkPolicies have a say.

    ``admin`` first. What it leaves open is decided by ``policies``, the NetworkPolicies, if there
    are any, and otherwise by ``baseline``. What nothing decides passes.
    """

    direction: Direction
    admin: Ranking | None
    policies: Profile | None
    baseline: Ranking | None

    def rankings(self) -> Iterator[Ranking]:
        """Yield the rankings."""
        yield from (one for one in (self.admin, self.baseline) if one is not None)


def ranking(
    direction: Direction, rules: Iterable[OrderedRule], own: Mapping[tuple[Protocol, str], int]
) -> Ranking | None:
    """Rank ``rules``, given in order, for a Pod whose named ports are ``own``; None without any."""
    if direction is Direction.INGRESS:
        rules = [_numbered(rule, own) for rule in rules]
    rules = tuple(rules)
    if not rules:
        return None
    anywhere = Ladder(direction, _steps(rule for rule in rules if rule.ports is None))
    doors = tuple(_doors(direction, rules, anywhere))
    return Ranking(direction, anywhere, doors, rules if any(map(_has_names, rules)) else ())


def _has_names(rule: OrderedRule) -> bool:
    return any(isinstance(port, PortName) for port in rule.ports or ())


def _numbered(rule: OrderedRule, own: Mapping[tuple[Protocol, str], int]) -> OrderedRule:
    """Return a rule with the Pod's own numbers instead of names."""
    if rule.ports is None or not _has_names(rule):
        return rule
    ports: set[PortRange | PortName] = set()
    for port in rule.ports:
        if isinstance(port, PortRange):
            ports.add(port)
        elif number := own.get((port.protocol, port.name)):
            ports.add(PortRange(port.protocol, number, number))
    return OrderedRule(rule.action, rule.peers, frozenset(ports), rule.name)


def _steps(rules: Iterable[OrderedRule]) -> Steps:
    """Return the rules as steps, without those that decide nothing."""
    steps: list[Step] = []
    for rule in rules:
        if rule.peers is not None and not rule.peers:
            continue
        group = rule.peers
        if steps and steps[-1][1] is rule.action:
            before = steps.pop()[0]
            group = None if group is None or before is None else before | group
        steps.append((group, rule.action))
        if group is None:
            break
    while steps and steps[-1][1] is Action.PASS:
        steps.pop()
    return tuple(steps)


def _doors(
    direction: Direction, rules: Sequence[OrderedRule], anywhere: Ladder
) -> Iterator[tuple[PortRange, Ladder]]:
    """Cut ranges that overlap. What follows one another with the same ladder is one range."""
    last: tuple[PortRange, Ladder] | None = None
    for port, steps in _cut(rules):
        ladder = Ladder(direction, steps)
        if ladder == anywhere:
            continue
        if (
            last
            and last[1] == ladder
            and (last[0].protocol, last[0].last + 1) == (port.protocol, port.first)
        ):
            last = (PortRange(port.protocol, last[0].first, port.last), ladder)
            continue
        if last:
            yield last
        last = (port, ladder)
    if last:
        yield last


def _cut(rules: Sequence[OrderedRule]) -> Iterator[tuple[PortRange, Steps]]:
    """Yield each range in which the same rules count, with their steps, upwards."""
    always = {number for number, rule in enumerate(rules) if rule.ports is None}
    for protocol in sorted(Protocol):
        begin: dict[int, list[int]] = {}
        end: dict[int, list[int]] = {}
        for number, rule in enumerate(rules):
            for port in rule.ports or ():
                if isinstance(port, PortRange) and port.protocol is protocol:
                    begin.setdefault(port.first, []).append(number)
                    end.setdefault(port.last + 1, []).append(number)
        active = dict.fromkeys(always, 1)
        for place, after in pairwise(sorted(begin.keys() | end.keys())):
            for number in begin.get(place, ()):
                active[number] = active.get(number, 0) + 1
            for number in end.get(place, ()):
                active[number] -= 1
                if not active[number]:
                    del active[number]
            if len(active) > len(always):
                here = _steps(rules[number] for number in sorted(active))
                yield PortRange(protocol, place, after - 1), here
