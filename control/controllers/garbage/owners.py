"""Finds owners and dependents by ownerReferences. Pure.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/. An owner is found by kind,
name and uid, in the dependent's namespace or cluster-wide. An owner of an unknown kind counts as
present: a dependent must not be deleted because podwire does not know the kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from control.api.kinds import Kind
from control.api.meta import Object, OwnerReference
from control.controllers.state import ClusterState

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Owner(Enum):
    """The state of an owner."""

    SOLID = "it exists"
    WAITING = "it will be deleted after its dependents"
    ABSENT = "our informers do not know it"


@dataclass(frozen=True, slots=True)
class Located:
    """An owner reference with its kind, namespace and state."""

    reference: OwnerReference
    kind: Kind | None
    namespace: str | None
    state: Owner


def kind_named(reference: OwnerReference) -> tuple[str, str]:
    """Return the group and the name of an owner's kind; its version does not matter."""
    return reference.api_version.rpartition("/")[0], reference.kind


def kind_of(cluster: ClusterState, reference: OwnerReference) -> Kind | None:
    """Return the kind of an owner, of any version; None for an unknown kind."""
    named = kind_named(reference)
    return next((kind for kind in cluster.tables if (kind.group, kind.name) == named), None)


def locate(cluster: ClusterState, item: Object, reference: OwnerReference) -> Located:
    """Find an owner of ``item``."""
    kind = kind_of(cluster, reference)
    if kind is None:
        return Located(reference, None, None, Owner.SOLID)
    namespace = item.metadata.namespace if kind.namespaced else None
    if kind.namespaced and not namespace:
        # A cluster-wide object cannot have an owner in a namespace: upstream leaves it alone.
        return Located(reference, kind, None, Owner.SOLID)
    owner = cluster[kind].get(namespace, reference.name)
    if owner is None or owner.metadata.uid != reference.uid:
        return Located(reference, kind, namespace, Owner.ABSENT)
    waiting = is_waiting(owner)
    return Located(reference, kind, namespace, Owner.WAITING if waiting else Owner.SOLID)


def is_waiting(item: Object) -> bool:
    """True if the object is deleted in the foreground: after its dependents."""
    meta = item.metadata
    return meta.deletion_timestamp is not None and FOREGROUND in meta.finalizers


def dependents(cluster: ClusterState, uid: str) -> Iterator[tuple[Kind, Object]]:
    """Yield every object that has an owner of this uid."""
    for kind, table in cluster.tables.items():
        for item in table.owned_by(uid):
            yield kind, item


def blocks(item: Object, uid: str) -> bool:
    """True if the owner of this uid must wait for ``item``."""
    return any(
        ref.uid == uid and ref.block_owner_deletion for ref in item.metadata.owner_references
    )
