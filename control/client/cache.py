"""An informer's memory: which objects there are, whatever the order their events come in. Pure.

resourceVersions are compared as numbers, as KEP-5504 lets clients do: for one object the highest
wins, so that a repeated or belated event changes nothing. A deletion leaves a tombstone (its
version) until a bookmark or a list says that everything older has been delivered.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic

from typing_extensions import TypeVar

from control.api.meta import Object
from control.client.held import Held
from control.client.rest import Listing
from control.client.stream import Bookmark, Change, Event

Kept = TypeVar("Kept", bound=Held, default=Object)
Key = tuple[str, str]
Difference = tuple[Kept | None, Kept | None]  # (old, new); None: there is, or was, no object


class Cache(Generic[Kept]):
    """Objects by (namespace, name), and the resourceVersion they stand for."""

    def __init__(self) -> None:
        self._objects: dict[Key, Kept] = {}
        self._shared = False  # whether a snapshot looks at _objects: then it is copied first
        self._tombstones: dict[Key, int] = {}
        self._own: dict[Key, int] = {}  # written by us, beyond what list and watch have brought
        self._buried: set[str] = set()  # uids that we know to be gone before the watch says so
        self._floor = 0
        self._latest = 0

    @property
    def resource_version(self) -> str:
        """The newest version seen: where a watch resumes."""
        return str(self._latest)

    def snapshot(self) -> Mapping[Key, Kept]:
        """All objects as they are now; later changes do not show in it. Costs nothing until the
        next change, which then copies the mapping (not the objects)."""
        self._shared = True
        return MappingProxyType(self._objects)

    def get(self, key: Key) -> Kept | None:
        """One object."""
        return self._objects.get(key)

    def replace(self, listing: Listing[Kept]) -> list[Difference[Kept]]:
        """Take a whole list, and say what changed by it.

        The list is the truth even if its version is lower than ours: then the server was restored
        from a backup, and what we knew is void.
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

    def learn(self, item: Kept) -> list[Difference[Kept]]:
        """Take the answer to a write of our own, which the watch has yet to bring: who decides by
        this cache never decides without what they just did."""
        version = version_of(item.resource_version)
        if version <= self._known(item.key) or item.uid in self._buried:
            return []
        old = self._objects.get(item.key)
        self._tombstones.pop(item.key, None)
        self._writable()[item.key] = item
        if version > self._latest:
            self._own[item.key] = version
        return _steps(old, item)

    def bury(self, item: Kept) -> list[Difference[Kept]]:
        """The server told us that this object is gone: whatever else still comes about it is
        older, since no uid is ever used twice."""
        held = self._objects.get(item.key)
        self._buried.add(item.uid)
        if held is None or held.uid != item.uid:
            return []
        del self._writable()[item.key]
        self._own.pop(item.key, None)
        return [(held, None)]

    def apply(self, event: Event[Kept]) -> list[Difference[Kept]]:
        """Take one event, and say what changed by it: nothing if it is old news."""
        if not isinstance(event, Change):
            self._pass(event.resource_version, complete=isinstance(event, Bookmark))
            return []
        key, version = event.object.key, version_of(event.object.resource_version)
        self._reach(version)
        buried, deleted = event.object.uid in self._buried, event.verb == "DELETED"
        if deleted:
            self._buried.discard(event.object.uid)
        # The answer to the write that ended an object has the version of that end: a deletion is
        # old news only to what is newer.
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
        """The version up to which we know this object's fate."""
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

    def _writable(self) -> dict[Key, Kept]:
        if self._shared:
            self._objects, self._shared = dict(self._objects), False
        return self._objects


def _differences(old: Mapping[Key, Kept], new: Mapping[Key, Kept]) -> list[Difference[Kept]]:
    keys = dict.fromkeys([*old, *new])
    return [step for key in keys for step in _steps(old.get(key), new.get(key))]


def _steps(old: Kept | None, new: Kept | None) -> list[Difference[Kept]]:
    """From one state of a key to the next. Another uid is another object: the old one went."""
    if old is None or new is None:
        return [] if old is new else [(old, new)]
    if old.uid != new.uid:
        return [(old, None), (None, new)]
    return [(old, new)] if old.resource_version != new.resource_version else []


def version_of(text: str) -> int:
    """A resourceVersion as a number; what is none (a broken server) is older than everything."""
    return int(text) if text.isdigit() else 0
