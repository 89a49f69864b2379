"""The cluster's state for controllers: objects by kind, namespace, owner and node. Pure.

Informers fill it; tests make it of a list of objects. A reconcile function only reads it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic

from typing_extensions import TypeVar

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import Object, OwnerReference
from control.api.pod import Pod
from control.client.cache import Key

Item = TypeVar("Item", bound=Object, default=Object)


class Table(Generic[Item]):
    """All objects of one kind."""

    def __init__(self, kind: Kind[Item]) -> None:
        self.kind = kind
        self._objects: dict[Key, Item] = {}
        self._namespaces: _Index = defaultdict(dict)
        self._owners: _Index = defaultdict(dict)
        self._nodes: _Index = defaultdict(dict)
        self._orphans: _Index = defaultdict(dict)

    def apply(self, old: Item | None, new: Item | None) -> None:
        """Take one change; this is an informer's callback."""
        if old is not None:
            self._objects.pop(old.key, None)
            for index, value in self._places(old):
                index[value].pop(old.key, None)
                if not index[value]:
                    del index[value]
        if new is not None:
            self._objects[new.key] = new
            for index, value in self._places(new):
                index[value][new.key] = None

    def get(self, namespace: str | None, name: str) -> Item | None:
        """Return one object, if it is there."""
        return self._objects.get((namespace or "", name))

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def within(self, namespace: str | None) -> list[Item]:
        """Return the objects of a namespace."""
        return self._found(self._namespaces, namespace or "")

    def owned_by(self, uid: str) -> list[Item]:
        """Return the objects that have an owner of this uid, controlling or not."""
        return self._found(self._owners, uid)

    def controlled_by(self, uid: str) -> list[Item]:
        """Return the objects whose controller has this uid."""
        return [item for item in self.owned_by(uid) if is_controlled_by(item, uid)]

    def orphans(self, namespace: str | None) -> list[Item]:
        """Return the objects of a namespace that have no controller."""
        return self._found(self._orphans, namespace or "")

    def on_node(self, name: str) -> list[Item]:
        """Return the Pods bound to a node."""
        return self._found(self._nodes, name)

    def _found(self, index: "_Index", value: str) -> list[Item]:
        return [self._objects[key] for key in index[value]] if value in index else []

    def _places(self, item: Item) -> Iterable[tuple["_Index", str]]:
        yield self._namespaces, item.metadata.namespace or ""
        if controller_of(item) is None:
            yield self._orphans, item.metadata.namespace or ""
        for owner in item.metadata.owner_references:
            yield self._owners, owner.uid
        if isinstance(item, Pod) and item.spec.node_name:
            yield self._nodes, item.spec.node_name


_Index = defaultdict[str, dict[Key, None]]


class ClusterState:
    """A table for each kind.

    ``contact`` is the time, in seconds since the epoch, since which the API server has answered
    without a gap. A node that was silent before may have had no server to report to.
    """

    def __init__(self, wanted: Iterable[Kind] = kinds.KINDS) -> None:
        self.tables: dict[Kind, Table] = {kind: Table(kind) for kind in wanted}
        self.contact = 0.0

    def __getitem__(self, kind: Kind[Item]) -> Table[Item]:
        return self.tables[kind]  # type: ignore[return-value]  # a table has its key's kind


def controller_of(item: Object) -> OwnerReference | None:
    """Return the owner that manages an object, if it has one."""
    return next((ref for ref in item.metadata.owner_references if ref.controller), None)


def is_controlled_by(item: Object, uid: str) -> bool:
    """True if the owner of this uid manages the object."""
    owner = controller_of(item)
    return owner is not None and owner.uid == uid


def owner_reference(kind: Kind, owner: Object) -> OwnerReference:
    """Return the controller reference to an owner."""
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.name,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
