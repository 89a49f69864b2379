"""The watch cache: every object as of the last revision, and the newest changes of each kind.

It follows the store's log as a whole, so that one number says how far it has come. Reads are
answered from here once it has reached the store's revision; watches resume from here as long as
the changes they ask for are still in the ring. The idea is upstream's watch cache with consistent
reads (KEP-2340).
"""

import asyncio
import logging
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from control.api.kinds import KINDS, Kind
from control.server.wire.info import storage_prefix
from control.server.wire.item import Item, restamp, stamp
from control.store.base import CompactedError, Store, StoreEvent, StoreUnavailableError

logger = logging.getLogger(__name__)

CLAIMS = "/claims/"
# How many changes of a kind can be resumed from, and how far back a restarted server looks.
RING = 4096
LOOK_BACK = 10_000
_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """What happened to one object: ``old`` None is a creation, ``removed`` the end.

    ``item`` is the object after it; of a removal, the last version at the removal's revision.
    """

    item: Item
    old: Item | None = None
    removed: bool = False


# Called for each change; with None when the cache has to start over and will not call again.
Listener = Callable[[ObjectChange | None], None]


class KindCache:
    """The objects of one kind."""

    def __init__(self, kind: Kind, floor: int) -> None:
        self.kind = kind
        self.prefix = storage_prefix(kind)
        self.floor = floor  # every later change is in the ring
        self._items: dict[str, Item] = {}
        self._keys: list[str] = []  # sorted
        self._ring: deque[ObjectChange] = deque(maxlen=RING)
        self.listeners: set[Listener] = set()

    def get(self, key: str) -> Item | None:
        """One object."""
        return self._items.get(key)

    def items(self, prefix: str = "", after: str = "") -> Iterator[Item]:
        """Objects whose key starts with a prefix, in key order, past a key."""
        prefix = prefix or self.prefix
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        end = bisect_left(self._keys, prefix + "\U0010ffff", start)
        for key in self._keys[start:end]:
            if item := self._items.get(key):
                yield item

    def changes(self, after: int) -> list[ObjectChange] | None:
        """What happened after a revision; None if that is too long ago."""
        if after < self.floor:
            return None
        found = []
        for change in reversed(self._ring):
            if change.item.revision <= after:
                break
            found.append(change)
        return found[::-1]

    def put(self, item: Item) -> None:
        """Hold an object; nobody is told."""
        if item.key not in self._items:
            insort(self._keys, item.key)
        self._items[item.key] = item

    def apply(self, event: StoreEvent) -> None:
        """Follow one event of the store, and tell the listeners."""
        change = self._change(event)
        if len(self._ring) == self._ring.maxlen:
            self.floor = self._ring[0].item.revision
        self._ring.append(change)
        self.tell(change)

    def tell(self, change: ObjectChange | None) -> None:
        """Call every listener."""
        for listener in tuple(self.listeners):
            listener(change)

    def _change(self, event: StoreEvent) -> ObjectChange:
        old = self._items.get(event.key)
        if event.value is not None:
            new = stamp(event.key, event.value, event.revision)
            self.put(new)
            return ObjectChange(new, old)
        self._keys.pop(bisect_left(self._keys, event.key))
        old = self._items.pop(event.key)
        return ObjectChange(restamp(old, event.revision), old, removed=True)


class WatchCache:
    """All kinds, and how far they have come."""

    def __init__(self, store: Store, kinds: Iterable[Kind] = KINDS) -> None:
        self._store = store
        self._all = tuple(kinds)
        self._kinds: dict[str, KindCache] = {}
        self.claims: set[str] = set()  # keys that say who holds an address or a port
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.revision = -1
        self._reset(0)

    def of(self, kind: Kind) -> KindCache:
        """The cache of one kind."""
        return self._kinds[storage_prefix(kind)]

    async def start(self) -> None:
        """Follow the store from now on; returns once everything in it is here."""
        self._task = asyncio.create_task(self._run(), name="watch-cache")
        await self.fresh()

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def fresh(self) -> int:
        """Return once this cache shows at least what the store holds now; its revision."""
        await self.reach(self._store.revision)
        return self.revision

    async def reach(self, revision: int) -> None:
        """Return once this cache has come as far as a revision."""
        while self.revision < revision:
            await self._changed.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except CompactedError:
                logger.warning("the store has compacted past the cache: reading it again")
            except StoreUnavailableError as err:
                logger.error("%s; reading it again in %.0f s", err, _RETRY)
                await asyncio.sleep(_RETRY)

    async def _follow(self) -> None:
        start = max(self._store.compacted, self._store.revision - LOOK_BACK)
        self._reset(start)
        if start:
            await self._load(start)
        self._reached(start)
        async for commit in self._store.watch("/", start):
            for event in commit:
                self._apply(event)
            self._reached(commit[-1].revision)

    async def _load(self, revision: int) -> None:
        page = await self._store.list("/", revision=revision)
        for record in page.records:
            if record.key.startswith(CLAIMS):
                self.claims.add(record.key)
            elif cache := self._kinds.get(_prefix_of(record.key)):
                cache.put(stamp(record.key, record.value, record.revision))

    def _apply(self, event: StoreEvent) -> None:
        if event.key.startswith(CLAIMS):
            (self.claims.add if event.value is not None else self.claims.discard)(event.key)
        elif cache := self._kinds.get(_prefix_of(event.key)):
            cache.apply(event)

    def _reset(self, floor: int) -> None:
        """Start over. Whoever watches is sent away, to list again."""
        for cache in self._kinds.values():
            cache.tell(None)
        self._kinds = {storage_prefix(kind): KindCache(kind, floor) for kind in self._all}
        self.claims = set()

    def _reached(self, revision: int) -> None:
        self.revision = revision
        self._changed.set()
        self._changed = asyncio.Event()


def _prefix_of(key: str) -> str:
    """``/registry/core/pods/`` of a key below it."""
    return "/".join(key.split("/", 4)[:4]) + "/"
