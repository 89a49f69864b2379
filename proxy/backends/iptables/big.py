"""Services with very many chains: they are written a part at a time, and others go first; pure.

iptables-nft hands the kernel one transaction, and the kernel looks through all of it for each new
chain: 20,000 endpoints of one Service take minutes, and as many in parts take seconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from proxy.backends.iptables.names import ChainName
from proxy.backends.iptables.render import RenderedRules, Rules
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.desired.desired import Desired, Portals
from proxy.model.values import Key

BIG = 1000  # endpoints; a Service with more is big
SLICE = 300  # chains and rules in one transaction: some 20 ms

Chains = Mapping[ChainName, Rules]


@dataclass(slots=True)
class _Held:
    """A big Service that is being written: its new state, and what is left to write."""

    portals: Portals
    target: RenderedRules
    left: list[tuple[ChainName, Rules]]  # the next one is last


class BigServices:
    """Holds big Services back until their own chains are written, slice by slice."""

    def __init__(self, ruleset: IptablesRuleset) -> None:
        self._ruleset = ruleset
        self._held: dict[Key, _Held] = {}
        self._written: dict[ChainName, Rules] = {}  # by slices, and of no Service in force yet
        self._garbage: dict[ChainName, None] = {}

    def __bool__(self) -> bool:
        return bool(self._held or self._garbage)

    def clear(self) -> None:
        """Forget everything: all is written anew."""
        self._held.clear()
        self._written.clear()
        self._garbage.clear()

    def hold_back(self, want: Desired) -> Desired:
        """Return ``want`` with the state before of big Services that are not written yet."""
        before = self._ruleset.have
        for key in {*want.changed_since(before), *self._held}:
            self._look_at(key, want.portals_of(key))
        if not self._held:
            return want
        shown = {key: portals for key, portals in want.items() if key not in self._held}
        for key in self._held:
            if portals := before.portals_of(key):
                shown[key] = portals
        return Desired(shown)

    def _look_at(self, key: Key, portals: Portals) -> None:
        held = self._held.get(key)
        if held is None or held.portals != portals:
            self._held.pop(key, None)
            if not is_big(portals):
                return
            target = self._ruleset.rendered(portals)
            there = {**self._ruleset.own_of(key), **self._written}
            left = [(c, r) for c, r in in_order(target.own) if there.get(c) != r]
            held = self._held[key] = _Held(portals, target, left[::-1])
        if not held.left:
            del self._held[key]

    def next_slice(self) -> ChainChanges | None:
        """Return what to write next; None if all is written."""
        for held in self._held.values():
            part = dict(_take(held.left))
            self._written |= part
            self._spare(part)
            return ChainChanges(part)
        if self._garbage:
            gone = sorted(self._garbage, key=_rank, reverse=True)[:SLICE]  # nothing jumps to them
            self._spare(gone)
            return ChainChanges(drop=frozenset(gone))
        return None

    def shorten(self, change: ChainChanges) -> ChainChanges:
        """Return a change without what slices wrote, and without much to remove."""
        self._spare(change.put)
        put = {c: r for c, r in change.put.items() if self._written.get(c) != r}
        for chain in (*change.put, *change.drop):
            self._written.pop(chain, None)
        if self._written and not self._held:
            unused = self._written.keys() - self._ruleset.own_chains(self._ruleset.keys()).keys()
            self._garbage |= dict.fromkeys(unused)
            self._written.clear()
        if len(change.drop) <= SLICE:
            return replace(change, put=put)
        self._garbage |= dict.fromkeys(sorted(change.drop))
        return replace(change, put=put, drop=frozenset())

    def _spare(self, chains: Iterable[ChainName]) -> None:
        for chain in chains:
            self._garbage.pop(chain, None)


def is_big(portals: Portals) -> bool:
    """Return True if a Service has very many endpoints, over all of its ports."""
    return sum(len(portal.cluster) + len(portal.local) for portal in portals) > BIG


def in_order(own: Chains) -> list[tuple[ChainName, Rules]]:
    """Return chains so that those to which others jump come first: endpoints, pools, entries."""
    return sorted(own.items(), key=lambda item: _rank(item[0]))


def _rank(chain: ChainName) -> int:
    return {"KUBE-SEP": 0, "KUBE-SVC": 1, "KUBE-SVL": 1}.get(chain.name[:8], 2)


def slices(own: Chains) -> Iterator[ChainChanges]:
    """Yield the chains of a big Service in parts."""
    left = in_order(own)[::-1]
    while left:
        yield ChainChanges(dict(_take(left)))


def _take(left: list[tuple[ChainName, Rules]]) -> Iterator[tuple[ChainName, Rules]]:
    """Take one transaction's chains from the end: at least one."""
    weight = 0
    while left and weight < SLICE:
        chain, rules = left.pop()
        weight += 1 + len(rules)
        yield chain, rules
