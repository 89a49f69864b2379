"""A copy of the few parts of the server's state that one computation looks at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from control.api.kinds import Kind
from control.server.state.server import ApiServerConfig, ServerState
from control.server.state.watch_cache import KindCache, WatchCache
from control.server.wire.info import storage_prefix
from control.server.wire.item import Item
from control.store.memory import MemoryStore


class MissingItemError(LookupError):
    """A computation looks at an object that its snapshot does not say anything about."""

    def __init__(self, kind: Kind, key: str) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key


class MissingListError(LookupError):
    """A computation lists objects that its snapshot does not say anything about."""

    def __init__(self, kind: Kind, prefix: str) -> None:
        super().__init__(kind, prefix)
        self.kind = kind
        self.prefix = prefix


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state that goes to a worker; ``items`` has None for an absent object.

    ``lists`` has all objects whose keys have a prefix.
    """

    config: ApiServerConfig
    now: datetime
    items: Mapping[str, Item | None] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    lists: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)

    def state(self) -> ServerState:
        """Return a state for pure functions: its store is empty and must not be written."""
        store = MemoryStore()
        return ServerState(self.config, store, _KnownItems(store, self), now=lambda: self.now)


class _KnownItems(WatchCache):
    def __init__(self, store: MemoryStore, snapshot: Snapshot) -> None:
        super().__init__(store)
        self.claims = set(snapshot.claims)
        self._snapshot = snapshot

    def of(self, kind: Kind) -> KindCache:
        """Return what the snapshot says of a kind."""
        return _KnownKind(kind, self._snapshot)


class _KnownKind(KindCache):
    def __init__(self, kind: Kind, snapshot: Snapshot) -> None:
        super().__init__(storage_prefix(kind), 0)
        self._kind = kind
        self._known = snapshot.items
        self._lists = snapshot.lists

    def get(self, key: str) -> Item | None:
        """Return an object of the snapshot; raises MissingItemError."""
        if key not in self._known:
            raise MissingItemError(self._kind, key)
        return self._known[key]

    def items(self, prefix: str = "", after: str = "") -> Iterator[Item]:
        """Yield the objects of the snapshot; raises MissingListError."""
        prefix = prefix or self.prefix
        if prefix not in self._lists:
            raise MissingListError(self._kind, prefix)
        return (item for item in self._lists[prefix] if item.key > after)
