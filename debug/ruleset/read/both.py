"""All rules of a network namespace: those of nftables, and those of iptables-legacy."""

from collections.abc import Sequence
from functools import cached_property

from debug.ruleset.read import legacy
from debug.ruleset.read.kernel import KernelRules
from debug.ruleset.read.lists import KernelLists
from debug.ruleset.saved import SavedChain, SavedRules, SavedStore
from debug.ruleset.values import Chain, Rule, Table

_FAMILIES = ("ip", "ip6", "inet")


class AllRules(KernelRules):
    """Implements values.Rules; legacy's tables are read at once, if there are any.

    Of a chain of each that have one priority, nftables' is called first here; the kernel does not
    tell which was hung in first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lists: KernelLists = KernelLists()
        self._legacy = tuple(legacy.read())

    def close(self) -> None:
        """Close the sockets."""
        super().close()
        self.lists.close()

    @cached_property
    def _hanging(self) -> tuple[Chain, ...]:
        found = [*super().bases(), *(chain for one in self._legacy for chain in one.chains)]
        found.sort(key=lambda chain: chain.base.priority if chain.base else 0)
        return tuple(found)

    def bases(self) -> Sequence[Chain]:
        """The chains that hang in a hook."""
        return self._hanging

    def rules(self, table: Table, chain: str) -> Sequence[Rule]:
        """The rules of a chain."""
        for one in self._legacy:
            if (table, chain) in one.rules:
                return one.rules[table, chain]
        return super().rules(table, chain)

    def whole(self) -> SavedRules:
        """Read all rules, and all elements of sets: of many Services that takes seconds."""
        places = [(one.table, one.name) for one in self.chains]
        places += [place for one in self._legacy for place in one.rules]
        wanted = [one for one in places if one[0].family in _FAMILIES]
        chains = tuple(SavedChain(*place, tuple(self.rules(*place))) for place in wanted)
        known = (one for one in self.stores if one.table.family in _FAMILIES)
        stores = tuple(SavedStore(one, tuple(self.elements(one))) for one in known)
        recents = {name: self.lists.recent(name) for name in self.lists.names()}
        return SavedRules(tuple(self.bases()), chains, stores, recents)
