"""Rules that were read whole, as values that a JSON file can hold: pure."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from debug.ruleset.registers import UnknownError
from debug.ruleset.stores import Contents
from debug.ruleset.values import Chain, Element, InSet, Rule, SetProbe, Store, Table


class SavedChain(Struct, frozen=True, array_like=True):
    """A chain with its rules."""

    table: Table
    name: str
    rules: tuple[Rule, ...]


class SavedStore(Struct, frozen=True, array_like=True):
    """A set or map with its elements."""

    store: Store
    elements: tuple[Element, ...]


class SavedLists:
    """Implements values.Lists: tables of recent, as they were. Elements of ipsets are not kept."""

    def __init__(self, recents: Mapping[str, Mapping[str, tuple[float, ...]]]) -> None:
        self._recents = recents

    def recent(self, name: str) -> Mapping[str, tuple[float, ...]]:
        """How many seconds before the snapshot each address was seen."""
        if name not in self._recents:
            raise UnknownError(f"recent {name}: the snapshot has no such table")
        return self._recents[name]

    def in_set(self, number: int, probe: SetProbe) -> InSet:
        """Raises UnknownError."""
        del probe
        raise UnknownError(f"ipset {number}, of which a snapshot has no elements")


class SavedRules(Struct, frozen=True, dict=True):
    """All rules of one network namespace. Implements values.Rules.

    ``hanging`` are the chains that packets enter, in the order in which the kernel calls them.
    """

    hanging: tuple[Chain, ...] = ()
    chains: tuple[SavedChain, ...] = ()
    stores: tuple[SavedStore, ...] = ()
    recents: Mapping[str, Mapping[str, tuple[float, ...]]] = {}

    @property
    def lists(self) -> "SavedLists":
        """What matches of iptables ask beside rules."""
        return SavedLists(self.recents)

    def bases(self) -> Sequence[Chain]:
        """The chains that hang in a hook."""
        return self.hanging

    def rules(self, table: Table, chain: str) -> Sequence[Rule]:
        """The rules of a chain."""
        return self._rules[table, chain]

    def store(self, table: Table, name: str) -> Store:
        """A set or map."""
        return self._stores[table, name][0]

    def element(self, store: Store, key: bytes) -> Element | None:
        """The element that holds a key."""
        return self._stores[store.table, store.name][1].find(key)

    @cached_property
    def tables(self) -> Mapping[tuple[str, str], Table]:
        """The tables by family and name."""
        return {(one.table.family, one.table.name): one.table for one in self.chains}

    @cached_property
    def _rules(self) -> Mapping[tuple[Table, str], Sequence[Rule]]:
        return {(one.table, one.name): one.rules for one in self.chains}

    @cached_property
    def _stores(self) -> Mapping[tuple[Table, str], tuple[Store, Contents]]:
        found = ((one.store, Contents(one.store, one.elements)) for one in self.stores)
        return {(store.table, store.name): (store, contents) for store, contents in found}
