"""Ownership of objects: adopts matching orphans, releases objects that no longer match. Pure.

As upstream's controller ref manager: the selector finds objects, the controller reference decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from control.api.kinds import Kind
from control.api.meta import LabelSelector, Object, OwnerReference
from control.api.selectors import SelectorError, from_model, selects
from control.client.cache import Key
from control.controllers.actions import Patch
from control.controllers.state import ClusterState, Item, Table, controller_of, owner_reference


@dataclass(frozen=True, slots=True)
class OwnershipClaim(Generic[Item]):
    """The objects that an owner has, and the patches that adopt or release others."""

    owned: tuple[Item, ...]
    actions: tuple[Patch, ...]


def claim(
    table: Table[Item], kind: Kind, owner: Object, selector: LabelSelector
) -> OwnershipClaim[Item]:
    """Find the objects of ``owner`` (a ``kind``) in a table."""
    wanted = from_model(selector)
    owned: list[Item] = []
    actions: list[Patch] = []
    for item in table.controlled_by(owner.metadata.uid):
        if wanted.matches(item.metadata.labels):
            owned.append(item)
        elif owner.metadata.deletion_timestamp is None and not item.metadata.deletion_timestamp:
            actions.append(_with_owners(table.kind, item, _without(item, owner.metadata.uid)))
    if owner.metadata.deletion_timestamp is None and wanted.requirements:
        for item in table.orphans(owner.metadata.namespace):
            if item.metadata.deletion_timestamp is None and wanted.matches(item.metadata.labels):
                mine = owner_reference(kind, owner)
                owners = [*_without(item, owner.metadata.uid), mine]
                actions.append(_with_owners(table.kind, item, owners))
    return OwnershipClaim(tuple(owned), tuple(actions))


def selector_of(given: LabelSelector | Mapping[str, str] | None) -> LabelSelector | None:
    """Return an owner's selector; that of a ReplicationController is a map of labels."""
    if given is None or isinstance(given, LabelSelector):
        return given
    return LabelSelector(match_labels=dict(given)) if given else None


def _without(item: Object, uid: str) -> list[OwnerReference]:
    return [ref for ref in item.metadata.owner_references if ref.uid != uid]


def _with_owners(kind: Kind, item: Object, owners: list[OwnerReference]) -> Patch:
    # With resourceVersion: of two controllers that adopt one orphan, only one must succeed.
    change = {
        "ownerReferences": [ref.wire() for ref in owners] or None,
        "resourceVersion": item.metadata.resource_version,
    }
    return Patch(kind, item, {"metadata": change})


def interested(kind: Kind, item: Object, cluster: ClusterState) -> list[Key]:
    """Return the keys of the ``kind`` objects that a change of ``item`` concerns.

    That is the item's controller; for an orphan, all objects that would adopt it.
    """
    namespace = item.metadata.namespace
    owner = controller_of(item)
    if owner is not None:
        same = owner.kind == kind.name and owner.api_version.rpartition("/")[0] == kind.group
        return [(namespace or "", owner.name)] if same else []
    candidates = cluster[kind].within(namespace)
    return [c.key for c in candidates if _selects(c, item.metadata.labels)]


def _selects(owner: Object, labels: Mapping[str, str]) -> bool:
    spec = getattr(owner, "spec", None)
    selector = selector_of(getattr(spec, "selector", None))
    try:
        return selector is not None and selects(selector, labels)
    except SelectorError:
        return False  # an invalid selector must not stop the other owners
