"""The cache of an informer, which ends in the same state for any order of events. Pure.

resourceVersions are compared as numbers, as KEP-5504 allows: for one object the highest version
wins, so a repeated or late event changes nothing. A deletion leaves a tombstone (its version) until
a bookmark or a list confirms that all older events have arrived.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from control.client.cacheable import Cacheable
from control.client.listing import Listing
from control.client.stream import Bookmark, ObjectEvent, WatchEvent

if TYPE_CHECKING:
    from control.api.meta import Object

CachedT = TypeVar("CachedT", bound=Cacheable, default="Object")
Key = tuple[str, str]
_DIGITS = 20  # of the largest number of 64 bits
Difference = tuple[CachedT | None, CachedT | None]  # (old, new); None: no object


class InformerCache(Generic[CachedT]):
    """Objects by (namespace, name), and the resourceVersion that they represent."""

    def __init__(self) -> None:
        self._objects: dict[Key, CachedT] = {}
        self._shared = False  # a snapshot shares _objects: copy before the next change
        self._tombstones: dict[Key, int] = {}
        self._own: dict[
            Key, int
        ] = {}  # versions of our own writes that no list or watch has delivered
        self._buried: set[str] = (
            set()
        )  # UIDs of deleted objects whose deletion the watch has not delivered
        self._floor = 0
        self._latest = 0

    @property
    def resource_version(self) -> str:
        """The newest version seen, from which a watch resumes."""
        return str(self._latest)

    def snapshot(self) -> Mapping[Key, CachedT]:
        """Return all objects as they are now; later changes do not show in the snapshot.

        A snapshot costs nothing until the next change, which copies the mapping (not the objects).
        """
        self._shared = True
        return MappingProxyType(self._objects)

    def get(self, key: Key) -> CachedT | None:
        """Return one object; None if it is absent."""
        return self._objects.get(key)

    def replace(self, listing: Listing[CachedT]) -> list[Difference[CachedT]]:
        """Replace the cache's content with a list, and return the differences.

        The list is right even if its version is lower than the cache's: then the server has been
        restored from a backup, and the cached objects are void.
        """
        reached = version_of(listing.resource_version)
        ours = {k: self._objects[k] for k, version in self._own.items() if version > reached}
        listed = {item.key: item for item in listing.items if item.uid not in self._buried}
        new = listed | ours
        changes = _differences(self._objects, new)
        self._objects, self._shared = new, False
        self._tombstones.clear()
        self._buried &= {item.uid for item in listing.items}
        self._own = {key: version for key, version in self._own.items() if key in ours}
        self._floor = self._latest = reached
        return changes

    def begin(self, items: Iterable[CachedT]) -> list[Difference[CachedT]]:
        """Take objects of the first list before its end; return the differences.

        ``replace`` takes the whole list then, and removes what an attempt before has left.
        """
        objects, changes = self._writable(), list[Difference[CachedT]]()
        for item in items:
            changes += _steps(objects.get(item.key), item)
            objects[item.key] = item
        return changes

    def learn(self, item: CachedT) -> list[Difference[CachedT]]:
        """Add the result of our own write before the watch delivers it; return the differences.

        A controller that decides from this cache thus always sees its own last write.
        """
        version = version_of(item.resource_version)
        if version <= self._known(item.key) or item.uid in self._buried:
            return []
        old = self._objects.get(item.key)
        self._tombstones.pop(item.key, None)
        self._writable()[item.key] = item
        if version > self._latest:
            self._own[item.key] = version
        return _steps(old, item)

    def bury(self, item: CachedT) -> list[Difference[CachedT]]:
        """Remove an object whose deletion the server has confirmed; return the differences.

        Later events about its UID are older than the deletion, because no UID is used twice.
        """
        held = self._objects.get(item.key)
        self._buried.add(item.uid)
        if held is None or held.uid != item.uid:
            return []
        del self._writable()[item.key]
        self._own.pop(item.key, None)
        return [(held, None)]

    def apply(self, event: WatchEvent[CachedT]) -> list[Difference[CachedT]]:
        """Apply one event, and return the differences: none if a newer event has been applied."""
        if not isinstance(event, ObjectEvent):
            self._pass(event.resource_version, complete=isinstance(event, Bookmark))
            return []
        key, version = event.object.key, version_of(event.object.resource_version)
        self._reach(version)
        buried, deleted = event.object.uid in self._buried, event.verb == "DELETED"
        if deleted:
            self._buried.discard(event.object.uid)
        # The answer to the write that ended an object has the version of its deletion: a deletion
        # is outdated only if a newer version is known.
        known = self._known(key)
        if buried or version < known or (version == known and not deleted):
            return []
        old = self._objects.get(key)
        if deleted:
            self._tombstones[key] = version
            self._writable().pop(key, None)
            return _steps(old, None)
        self._tombstones.pop(key, None)
        self._writable()[key] = event.object
        return _steps(old, event.object)

    def _known(self, key: Key) -> int:
        """Return the version up to which this object's state is known."""
        held = self._objects.get(key)
        seen = version_of(held.resource_version) if held else 0
        return max(self._floor, seen, self._tombstones.get(key, 0))

    def _pass(self, version: str, *, complete: bool) -> None:
        reached = version_of(version)
        self._reach(reached)
        if complete:
            self._floor = max(self._floor, reached)
            self._tombstones = {k: v for k, v in self._tombstones.items() if v > self._floor}

    def _reach(self, version: int) -> None:
        self._latest = max(self._latest, version)
        if self._own:
            self._own = {key: own for key, own in self._own.items() if own > self._latest}

    def _writable(self) -> dict[Key, CachedT]:
        if self._shared:
            self._objects, self._shared = dict(self._objects), False
        return self._objects


def _differences(
    old: Mapping[Key, CachedT], new: Mapping[Key, CachedT]
) -> list[Difference[CachedT]]:
    pairs = ((old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new]))
    return [step for was, now in pairs if was is not now for step in _steps(was, now)]


def _steps(old: CachedT | None, new: CachedT | None) -> list[Difference[CachedT]]:
    """Return the differences between two states of a key; another UID is another object."""
    if old is None or new is None:
        return [] if old is new else [(old, new)]
    if old.uid != new.uid:
        return [(old, None), (None, new)]
    return [(old, new)] if old.resource_version != new.resource_version else []


def version_of(text: str) -> int:
    """Return a resourceVersion as a number; malformed text (a broken server) is 0."""
    return int(text) if len(text) <= _DIGITS and text.isascii() and text.isdigit() else 0
