"""An informer's memory: which objects there are, whatever the order their events come in. Pure.

resourceVersions are compared as numbers, as KEP-5504 lets clients do: for one object the highest
wins, so that a repeated or belated event changes nothing. A deletion leaves a tombstone (its
version) until a bookmark or a list says that everything older has been delivered.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic

from control.api.kinds import M
from control.client.rest import Listing
from control.client.stream import Bookmark, Change, Event

Key = tuple[str, str]
Difference = tuple[M | None, M | None]  # (old, new); None: there is, or was, no object


class Cache(Generic[M]):
    """Objects by (namespace, name), and the resourceVersion they stand for."""

    def __init__(self) -> None:
        self._objects: dict[Key, M] = {}
        self._shared = False  # whether a snapshot looks at _objects: then it is copied first
        self._tombstones: dict[Key, int] = {}
        self._floor = 0
        self._latest = 0

    @property
    def resource_version(self) -> str:
        """The newest version seen: where a watch resumes."""
        return str(self._latest)

    def snapshot(self) -> Mapping[Key, M]:
        """All objects as they are now; later changes do not show in it. Costs nothing until the
        next change, which then copies the mapping (not the objects)."""
        self._shared = True
        return MappingProxyType(self._objects)

    def get(self, key: Key) -> M | None:
        """One object."""
        return self._objects.get(key)

    def replace(self, listing: Listing[M]) -> list[Difference[M]]:
        """Take a whole list, and say what changed by it.

        The list is the truth even if its version is lower than ours: then the server was restored
        from a backup, and what we knew is void.
        """
        new = {item.key: item for item in listing.items}
        changes = _differences(self._objects, new)
        self._objects, self._shared = new, False
        self._tombstones.clear()
        self._floor = self._latest = version_of(listing.resource_version)
        return changes

    def apply(self, event: Event[M]) -> list[Difference[M]]:
        """Take one event, and say what changed by it: nothing if it is old news."""
        if not isinstance(event, Change):
            self._pass(event.resource_version, complete=isinstance(event, Bookmark))
            return []
        key, version = event.object.key, version_of(event.object.metadata.resource_version)
        self._latest = max(self._latest, version)
        if version <= self._known(key):
            return []
        old = self._objects.get(key)
        if event.verb == "DELETED":
            self._tombstones[key] = version
            self._writable().pop(key, None)
            return _steps(old, None)
        self._tombstones.pop(key, None)
        self._writable()[key] = event.object
        return _steps(old, event.object)

    def _known(self, key: Key) -> int:
        """The version up to which we know this object's fate."""
        held = self._objects.get(key)
        seen = version_of(held.metadata.resource_version) if held else 0
        return max(self._floor, seen, self._tombstones.get(key, 0))

    def _pass(self, version: str, *, complete: bool) -> None:
        reached = version_of(version)
        self._latest = max(self._latest, reached)
        if complete:
            self._floor = max(self._floor, reached)
            self._tombstones = {k: v for k, v in self._tombstones.items() if v > self._floor}

    def _writable(self) -> dict[Key, M]:
        if self._shared:
            self._objects, self._shared = dict(self._objects), False
        return self._objects


def _differences(old: Mapping[Key, M], new: Mapping[Key, M]) -> list[Difference[M]]:
    keys = dict.fromkeys([*old, *new])
    return [step for key in keys for step in _steps(old.get(key), new.get(key))]


def _steps(old: M | None, new: M | None) -> list[Difference[M]]:
    """From one state of a key to the next. Another uid is another object: the old one went."""
    if old is None or new is None:
        return [] if old is new else [(old, new)]
    if old.metadata.uid != new.metadata.uid:
        return [(old, None), (None, new)]
    return [(old, new)] if old.metadata.resource_version != new.metadata.resource_version else []


def version_of(text: str) -> int:
    """A resourceVersion as a number; what is none (a broken server) is older than everything."""
    return int(text) if text.isdigit() else 0


def newest(items: Iterable[M]) -> int:
    """The highest resourceVersion among objects."""
    return max((version_of(item.metadata.resource_version) for item in items), default=0)
