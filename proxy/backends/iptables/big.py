"""Services with very many chains: they are written a part at a time, and others go first; pure.

iptables-nft hands the kernel one transaction, and the kernel looks through all of it for each new
chain: 20,000 endpoints of one Service take minutes, and as many in parts take seconds.
"""

from collections.abc import Iterable, Iterator, Mapping, Set

from msgspec import Struct
from msgspec.structs import replace

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName
from proxy.backends.iptables.render import RenderedRules, Rules
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset, joined
from proxy.desired.desired import Desired, Portals
from proxy.desired.portals import Portal
from proxy.model.values import Address, Family, Key

BIG = 1000  # endpoints; a Service with more is big
SLICE = 300  # chains and rules in one transaction: some 20 ms

Chains = Mapping[ChainName, Rules]


class _Held(Struct):
    """A big Service that is being written: its new state, and what is left to write.

    Its portals are rendered one after the other: all at once would keep others waiting.
    """

    portals: Portals
    addresses: tuple[Address, ...]  # the node's, on which rules may depend
    coming: list[Portal]  # those to render, the next one last
    rendered: list[RenderedRules] = []
    left: list[tuple[ChainName, Rules]] = []  # the next one is last

    @property
    def is_done(self) -> bool:
        return not self.left and not self.coming


class BigServices:
    """Holds big Services back until their own chains are written, slice by slice."""

    def __init__(self, ruleset: IptablesRuleset) -> None:
        self._ruleset = ruleset
        self._held: dict[Key, _Held] = {}
        self._written: dict[ChainName, Rules] = {}  # by slices, and of no Service in force yet
        self._garbage: dict[ChainName, None] = {}
        self._refused = False
        self.done: dict[Key, RenderedRules] = {}  # the rules of those that are written to their end

    @property
    def keys(self) -> Set[Key]:
        """The Services whose newest state is not in force yet."""
        return self._held.keys()

    def __bool__(self) -> bool:
        return bool(self._held or self._garbage)

    def clear(self) -> None:
        """Forget everything: all is written anew."""
        self._held.clear()
        self._written.clear()
        self._garbage.clear()

    def hold_new(self, want: Desired, chains: Set[ChainName]) -> Desired:
        """Return ``want`` without the big Services of which the kernel has no chain: a load writes
        all others, and those follow. Big ones that are there are served throughout the load.
        """
        self.clear()
        if self._refused:
            return want
        for key, portals in want.items():
            if self._is_big(portals) and not chains & _pools(portals):
                self._hold(key, portals)
        return self._without(want, Desired())

    def rewrite(self, keys: Iterable[Key], observed: Set[ChainName], stale: Set[ChainName]) -> None:
        """Have the own chains of Services that are in force written in slices.

        What is stale goes after that, and so do ``observed`` chains of theirs that are not wanted
        any more by then.
        """
        for key in keys:
            own = self._ruleset.own_of(key).keys()
            self._garbage |= dict.fromkeys(sorted((own & observed) | stale))
            self._hold(key, self._ruleset.have.portals_of(key))
            self._ruleset.strip(key)

    @property
    def again(self) -> Set[Key]:
        """The Services to render again, because they were written to their end or are small now."""
        return self._ruleset.bare - self._held.keys()

    @property
    def is_refused(self) -> bool:
        """True if the kernel refused a slice: the next load finds the Service to leave out."""
        return self._refused

    def hold_back(self, want: Desired) -> Desired:
        """Return ``want`` with the state before of big Services that are not written yet.

        The rules of those that are written by now are in ``done``.
        """
        before = self._ruleset.have
        self.done = {}
        for key in {*want.changed_since(before), *self._held}:
            self._look_at(key, want.portals_of(key))
        return self._without(want, before)

    def _without(self, want: Desired, before: Desired) -> Desired:
        if not self._held:
            return want
        shown = {key: portals for key, portals in want.items() if key not in self._held}
        for key in self._held:
            if portals := before.portals_of(key):
                shown[key] = portals
        return Desired(shown)

    def _look_at(self, key: Key, portals: Portals) -> None:
        held, addresses = self._held.get(key), self._ruleset.node.addresses
        if held is None or (held.portals, held.addresses) != (portals, addresses):
            self._held.pop(key, None)
            if self._is_big(portals):
                self._hold(key, portals)
        elif held.is_done:
            del self._held[key]
            self.done[key] = joined(held.rendered)

    def _is_big(self, portals: Portals) -> bool:
        return is_big(portals, self._ruleset.family)

    def _hold(self, key: Key, portals: Portals) -> None:
        ours = [portal for portal in portals if portal.family is self._ruleset.family]
        self._held[key] = _Held(portals, self._ruleset.node.addresses, ours[::-1])

    def refused(self, yes: bool = True) -> None:
        """Note that the kernel refused a slice: the next load is whole."""
        self._refused = yes

    def next_slice(self) -> ChainChanges | None:
        """Return what to write next; None if all is written."""
        for key, held in self._held.items():
            if not held.is_done:
                self._render(key, held)
                part = dict(_take(held.left))
                self._written |= part
                self._spare(part)
                return ChainChanges(part)
        if self._garbage:
            gone = sorted(self._garbage, key=_rank, reverse=True)[:SLICE]  # nothing jumps to them
            self._spare(gone)
            return ChainChanges(drop=frozenset(gone))
        return None

    def _render(self, key: Key, held: _Held) -> None:
        """Render the next portal, if what was rendered is written."""
        if held.left:
            return
        rendered = self._ruleset.rendered((held.coming.pop(),))
        held.rendered.append(rendered)
        there = self._ruleset.own_of(key)
        held.left = [
            (chain, rules)
            for chain, rules in in_order(rendered.own)
            if self._written.get(chain, there.get(chain)) != rules
        ][::-1]

    def shorten(self, change: ChainChanges) -> ChainChanges:
        """Return a change without what slices wrote, and without much to remove."""
        self._spare(change.put)
        put = {c: r for c, r in change.put.items() if self._written.get(c) != r}
        for chain in (*change.put, *change.drop):
            self._written.pop(chain, None)
        if self._written and not self._held:
            own = self._ruleset.own_chains(self._ruleset.keys())
            put |= {c: own[c] for c, rules in self._written.items() if own.get(c, rules) != rules}
            self._garbage |= dict.fromkeys(self._written.keys() - own.keys())
            self._written.clear()
        if len(change.drop) <= SLICE:
            return replace(change, put=put)
        self._garbage |= dict.fromkeys(sorted(change.drop))
        return replace(change, put=put, drop=frozenset())

    def _spare(self, chains: Iterable[ChainName]) -> None:
        for chain in chains:
            self._garbage.pop(chain, None)


def is_big(portals: Portals, family: Family) -> bool:
    """Return True if a Service has very many endpoints of a family, over all of its ports."""
    ours = (portal for portal in portals if portal.family is family)
    return sum(len(portal.cluster) + len(portal.local) for portal in ours) > BIG


def _pools(portals: Portals) -> Set[ChainName]:
    """Return the chains that balance over a Service's endpoints, in use or not."""
    name = (names.cluster_chain, names.local_chain)
    return {ChainName(names.Table.NAT, one(portal)) for portal in portals for one in name}


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
