"""The watch cache: every object at the last revision, and the newest changes of each kind.

The cache follows the store's whole log, so one revision says how far it is. It answers reads once
it has reached the store's revision, and resumes watches as long as their changes are in the ring.
The idea is upstream's watch cache with consistent reads (KEP-2340).
"""

import asyncio
import logging
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from control.api.kinds import DEFINITION, SERVED, SERVICE_ADDRESS, Kind
from control.server.state.conversion import Converter, NotConvertedError
from control.server.state.kinds import KindTable
from control.server.wire.info import storage_prefix
from control.server.wire.item import Item, restamp, stamp
from control.store.base import (
    CompactedError,
    Store,
    StoreDamagedError,
    StoreEvent,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from control.server.state.views import VersionView

logger = logging.getLogger(__name__)

_OBJECTS = "/registry/"
_DEFINITIONS = storage_prefix(DEFINITION)
CLAIMS = "/claims/"
ADDRESSES = storage_prefix(SERVICE_ADDRESS)  # the claims of addresses, which clients see
# The changes of each kind that are kept for watches to resume, and the revisions that a restarted
# server reads back.
RING = 4096
RING_BYTES = 16 * 1024 * 1024
LOOK_BACK = 10_000
_RETRY = 1.0


class ObjectChange(Struct, frozen=True):
    """A change of one object: ``old`` is None for a creation, ``removed`` True for a deletion.

    ``item`` is the object after the change; for a deletion, its last version at the revision of
    the deletion.
    """

    item: Item
    old: Item | None = None
    removed: bool = False


# Called with each change; with None, as the last call, when the cache starts over.
Listener = Callable[[ObjectChange | None], None]


class KindCache:
    """The objects of one kind, and their newest changes."""

    closed = False  # True if the kind is not served any more
    behind: int | None = None  # the last revision that listeners have heard of, if not all

    def __init__(self, prefix: str, floor: int) -> None:
        self.prefix = prefix
        self.floor = floor  # every later change is in the ring
        self._items: dict[str, Item] = {}
        self._keys: list[str] = []  # sorted
        self._ring: deque[ObjectChange] = deque()
        self._ring_bytes = 0
        self.listeners: set[Listener] = set()

    def get(self, key: str) -> Item | None:
        """Return one object; None if it is absent."""
        return self._items.get(key)

    @property
    def count(self) -> int:
        """The number of objects."""
        return len(self._items)

    def items(self, prefix: str = "", after: str = "") -> Iterator[Item]:
        """Return the objects whose key starts with ``prefix``, in key order, after a key."""
        prefix = prefix or self.prefix
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        end = bisect_left(self._keys, prefix + "\U0010ffff", start)
        return filter(None, map(self._items.get, self._keys[start:end]))

    def changes(self, after: int) -> list[ObjectChange] | None:
        """Return the changes after a revision; None if the ring no longer has all of them."""
        if after < self.floor:
            return None
        found = []
        for change in reversed(self._ring):
            if change.item.revision <= after:
                break
            found.append(change)
        return found[::-1]

    def put(self, item: Item) -> None:
        """Store an object without calling listeners."""
        if item.key not in self._items:
            insort(self._keys, item.key)
        self._items[item.key] = item

    def apply(self, event: StoreEvent) -> None:
        """Apply one event of the store, and call the listeners."""
        change = self._change(event)
        self._ring.append(change)
        self._ring_bytes += change.item.size
        while len(self._ring) > RING or self._ring_bytes > RING_BYTES:
            oldest = self._ring.popleft().item
            self.floor = oldest.revision
            self._ring_bytes -= oldest.size
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


class _NoConverter:
    """Converts nothing: there is no server that could ask."""

    async def show(self, kind: Kind, items: Sequence[Item]) -> None:
        raise NotConvertedError(kind, items)

    async def keep(self, kind: Kind, value: bytes) -> bytes:
        raise NotConvertedError(kind, [Item.of("", 0, value)])


class WatchCache:
    """The cache of all kinds, and the revision that it has reached."""

    def __init__(self, store: Store, kinds: Iterable[Kind] = SERVED) -> None:
        self._store = store
        self._all = tuple(kinds)
        self._kinds: dict[str, KindCache] = {}
        self._views: dict[tuple[str, str], VersionView] = {}  # by the prefix and the version
        self.kinds = KindTable(self._all)
        self._floor = 0
        self.converter: Converter = _NoConverter()  # of a server that is not complete yet
        self.claims: set[str] = set()  # keys of the claimed addresses and ports
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_started = False  # it has had all objects once
        self.revision = -1
        self._reset(0)

    def of(self, kind: Kind) -> KindCache:
        """Return the cache of one kind."""
        prefix = storage_prefix(kind)
        if kind.custom is None and kind.form is None:
            return self._kinds[prefix]
        view = self._views.get((prefix, kind.version))
        return view if view is not None and view.kind is kind else self._view(kind, prefix)

    def seen(self, kind: Kind, item: Item) -> Item:
        """Return an object of the store as its kind shows it."""
        if kind.custom is None and kind.form is None:
            return item
        from control.server.state.views import seen

        return seen(kind, item, self._defined(kind))

    def _view(self, kind: Kind, prefix: str) -> "VersionView":
        """Return the objects as a kind shows them; it is kept while the kind is served."""
        from control.server.state.views import ConvertedView, VersionView

        base, defined = self._under(prefix), self._defined(kind)
        if kind.custom is not None and kind.custom.converts:
            made: VersionView = ConvertedView(base, kind, defined, self.converter)
        else:
            made = VersionView(base, kind, defined)
        if self.kinds.by_resource.get((kind.group, kind.version, kind.plural)) is kind:
            self._views[prefix, kind.version] = made
        else:
            made.close()  # of a request that was here before its definition changed
        return made

    def _defined(self, kind: Kind) -> int:
        """Return the revision of the last change of a custom kind's definition."""
        return self.kinds.revisions.get(kind.custom.definition, 0) if kind.custom else 0

    def _under(self, prefix: str) -> KindCache:
        """Return the cache of a prefix; it is made for the first object of a custom kind."""
        if prefix not in self._kinds:
            self._kinds[prefix] = KindCache(prefix, self._floor)
        return self._kinds[prefix]

    def count(self, kind: Kind) -> int:
        """Return the number of objects of a kind in all namespaces; 0 for one without a store."""
        found = self._kinds.get(storage_prefix(kind))
        return found.count if found is not None else 0

    def counts(self) -> dict[str, int]:
        """Return the number of objects by resource: ``pods``, ``deployments.apps``."""
        found = {}
        for prefix, cache in self._kinds.items():
            _, _, group, plural, _ = prefix.split("/")
            found[plural if group == "core" else f"{plural}.{group}"] = cache.count
        return found

    async def start(self) -> None:
        """Start to follow the store; return once the cache has all its objects.

        Raises StoreDamagedError if one cannot be read.
        """
        self._task = asyncio.create_task(self._run(), name="watch-cache")
        fresh = asyncio.create_task(self.fresh())
        await asyncio.wait((self._task, fresh), return_when=asyncio.FIRST_COMPLETED)
        if not fresh.done():  # the task has ended, and says why
            fresh.cancel()
            await asyncio.gather(fresh, return_exceptions=True)
            await self._task
        await fresh
        self._is_started = True

    async def stop(self) -> None:
        """Stop to follow the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def fresh(self) -> int:
        """Wait until the cache has reached the store's revision; return the cache's revision."""
        await self.reach(await self._store.newest())
        return self.revision

    async def reach(self, revision: int) -> None:
        """Wait until the cache has reached a revision."""
        while self.revision < revision:
            await self._changed.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except CompactedError:
                logger.warning(
                    "watch cache: the store has compacted its revision: reading it again"
                )
            except StoreUnavailableError as err:
                if isinstance(err, StoreDamagedError) and not self._is_started:
                    raise  # a server that has never known all objects serves none
                logger.error("watch cache: %s; reading the store again in %.0f s", err, _RETRY)
                await asyncio.sleep(_RETRY)

    async def _follow(self) -> None:
        start = max(self._store.compacted, self._store.revision - LOOK_BACK)
        self._reset(start)
        if start:
            await self._load(start)
        self._reached(start)
        async for heard in self._store.watch("/", start):
            for event in heard.events:
                self._apply(event)
            self._reached(heard.revision)

    async def _load(self, revision: int) -> None:
        page = await self._store.list("/", revision=revision)
        for record in page.records:
            if record.key.startswith(CLAIMS):
                self.claims.add(record.key)
            elif record.key.startswith(_OBJECTS):
                if record.key.startswith(ADDRESSES):
                    self.claims.add(record.key)
                item = stamp(record.key, record.value, record.revision)
                self._under(_prefix_of(record.key)).put(item)
        for item in self._kinds[_DEFINITIONS].items():
            self.kinds.put(item.wire, item.revision)

    def _apply(self, event: StoreEvent) -> None:
        if event.key.startswith((CLAIMS, ADDRESSES)):
            (self.claims.add if event.value is not None else self.claims.discard)(event.key)
        if event.key.startswith(_OBJECTS):
            prefix = _prefix_of(event.key)
            if prefix == _DEFINITIONS:
                self._define(event)
            (self._kinds.get(prefix) or self._under(prefix)).apply(event)

    def _define(self, event: StoreEvent) -> None:
        """Serve what a definition says from now on; watches of its old kinds end."""
        name = event.key.removeprefix(_DEFINITIONS)
        if event.value is None:
            self.kinds.remove(name)
        else:
            item = stamp(event.key, event.value, event.revision)
            self.kinds.put(item.wire, item.revision)
        for place, view in tuple(self._views.items()):
            kind = view.kind
            if self.kinds.by_resource.get((kind.group, kind.version, kind.plural)) is not kind:
                del self._views[place]
                view.close()

    def _reset(self, floor: int) -> None:
        """Start over; every watcher has to list again."""
        for cache in self._kinds.values():
            cache.tell(None)
        self._floor, self._views = floor, {}
        self.kinds.clear()
        prefixes = [*map(storage_prefix, self._all), _DEFINITIONS]
        self._kinds = {prefix: KindCache(prefix, floor) for prefix in prefixes}
        self.claims = set()

    def _reached(self, revision: int) -> None:
        self.revision = revision
        self._changed.set()
        self._changed = asyncio.Event()


def _prefix_of(key: str) -> str:
    """Return the kind's prefix of a key, such as ``/registry/core/pods/``."""
    return "/".join(key.split("/", 4)[:4]) + "/"
