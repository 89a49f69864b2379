"""The garbage collector: deletes objects without an owner, and completes waiting deletions.

Background: the owner is deleted first, then its dependents. Foreground: a finalizer keeps the owner
until the dependents that block it are deleted. Orphan: dependents lose their reference first.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import Object, OwnerReference
from control.client.cache import Key
from control.controllers.actions import Action, Collect, Patch
from control.controllers.garbage.owners import (
    FOREGROUND,
    ORPHAN,
    Located,
    Owner,
    blocks,
    dependents,
    is_waiting,
    kind_named,
    locate,
)
from control.controllers.loop import Source
from control.controllers.state import ClusterState

# Events have no owners and no dependents, and are many.
KINDS = tuple(kind for kind in kinds.KINDS if kind is not kinds.EVENT)


def key_of(kind: Kind, item: Object) -> Key:
    """Return a key that includes the kind."""
    return f"{kind.plural}.{kind.group}/{item.metadata.namespace or ''}", item.metadata.name


def _concerns(old: Object | None, new: Object | None) -> bool:
    """True if a change affects owners, finalizers or a deletion."""
    if old is None or new is None:
        return True
    then, now = old.metadata, new.metadata
    return (
        then.owner_references != now.owner_references
        or then.finalizers != now.finalizers
        or then.deletion_timestamp != now.deletion_timestamp
    )


def _source(kind: Kind) -> Source:
    def keys(cluster: ClusterState, item: Object) -> Iterator[Key]:
        """Yield the object, its dependents, and owners that wait for it."""
        yield key_of(kind, item)
        for dependent_kind, dependent in dependents(cluster, item.metadata.uid):
            yield key_of(dependent_kind, dependent)
        for reference in item.metadata.owner_references:
            found = locate(cluster, item, reference)
            if found.kind is not None and found.state is Owner.WAITING:
                owner = cluster[found.kind].get(found.namespace, reference.name)
                if owner is not None:
                    yield key_of(found.kind, owner)

    return Source(kind, keys, _concerns)


class GarbageCollector:
    """Deletes dependents by the ownerReferences of every kind."""

    component = "garbage-collector-controller"
    sources = tuple(_source(kind) for kind in KINDS)

    def __init__(self) -> None:
        # Objects whose owner is of a kind that is not followed yet. The owner may be gone before
        # that kind's objects are listed, so that no change would ever name its dependents.
        self._undecided: dict[tuple[str, str], dict[Key, None]] = {}

    def custom_source(self, kind: Kind) -> Source:
        """Follow the objects of a kind of a definition or an extension server, too."""
        return _source(kind)

    def waiting_for(self, kind: Kind) -> Iterable[Key]:
        """Return the objects that have owners of this kind, and were judged without it."""
        return self._undecided.pop((kind.group, kind.name), {})

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Collect the object ``key``, of any kind, or complete its deletion."""
        del now
        resource, _, namespace = key[0].partition("/")
        kind = _kind(cluster, resource)
        item = cluster[kind].get(namespace, key[1]) if kind else None
        if kind is None or item is None:
            for keys in self._undecided.values():
                keys.pop(key, None)
            return
        if item.metadata.deletion_timestamp is not None:
            yield from _finish(cluster, kind, item)
        elif item.metadata.owner_references:
            owners = [locate(cluster, item, ref) for ref in item.metadata.owner_references]
            for owner in owners:
                if owner.kind is None:
                    self._undecided.setdefault(kind_named(owner.reference), {})[key] = None
            yield from _judge(cluster, kind, item, owners)


def _kind(cluster: ClusterState, resource: str) -> Kind | None:
    """Return the kind of a resource; None for one that is not served any more."""
    found = (kind for kind in cluster.tables if f"{kind.plural}.{kind.group}" == resource)
    return next(found, None)


def _finish(cluster: ClusterState, kind: Kind, item: Object) -> Iterator[Action]:
    """Return the actions for which a deletion waits."""
    uid = item.metadata.uid
    if ORPHAN in item.metadata.finalizers:
        for dependent_kind, dependent in dependents(cluster, uid):
            yield _cut(dependent_kind, dependent, [uid])
        yield _without_finalizer(kind, item, ORPHAN)
    elif is_waiting(item) and not any(blocks(d, uid) for _, d in dependents(cluster, uid)):
        yield _without_finalizer(kind, item, FOREGROUND)


def _judge(
    cluster: ClusterState, kind: Kind, item: Object, owners: Sequence[Located]
) -> Iterator[Action]:
    """Keep an object, remove some of its owner references, or delete it."""
    gone = [owner for owner in owners if owner.state is not Owner.SOLID]
    absent = tuple(owner for owner in owners if owner.state is Owner.ABSENT)
    if not gone:
        return
    if len(gone) < len(owners):
        # Another owner is left. Here too, the server must confirm that the others are absent.
        yield Collect(
            kind, item, _places(absent), _cut(kind, item, [o.reference.uid for o in gone])
        )
        return
    waited_for = len(absent) < len(gone)
    deep = waited_for and any(True for _ in dependents(cluster, item.metadata.uid))
    yield Collect(kind, item, _places(absent), "Foreground" if deep else _propagation(item))


def _propagation(item: Object) -> Literal["Background", "Foreground", "Orphan"]:
    if ORPHAN in item.metadata.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in item.metadata.finalizers else "Background"


def _places(absent: Sequence[Located]) -> tuple[tuple[Kind, str | None, OwnerReference], ...]:
    return tuple((o.kind, o.namespace, o.reference) for o in absent if o.kind is not None)


def _cut(kind: Kind, item: Object, uids: Sequence[str]) -> Patch:
    left = [ref.wire() for ref in item.metadata.owner_references if ref.uid not in uids]
    return _rewrite(kind, item, "ownerReferences", left)


def _without_finalizer(kind: Kind, item: Object, finalizer: str) -> Patch:
    left = [name for name in item.metadata.finalizers if name != finalizer]
    return _rewrite(kind, item, "finalizers", left)


def _rewrite(kind: Kind, item: Object, field: str, value: Sequence[object]) -> Patch:
    version = item.metadata.resource_version
    return Patch(kind, item, {"metadata": {field: value or None, "resourceVersion": version}})
