"""Who depends on whom, by ownerReferences. Pure.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/. An owner is found by kind,
name and uid: in the dependent's namespace, or cluster-wide. A kind that podwire does not know
counts as present, since nothing may be deleted for want of knowledge.
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
    """How it stands with an owner."""

    SOLID = "it exists"
    WAITING = "it is being deleted, once its dependents are"
    ABSENT = "it does not exist, as far as we know"


@dataclass(frozen=True, slots=True)
class Located:
    """An owner, where it should be."""

    reference: OwnerReference
    kind: Kind | None
    namespace: str | None
    state: Owner


def kind_of(cluster: ClusterState, reference: OwnerReference) -> Kind | None:
    """The kind of an owner, whatever its version; None if podwire does not know it."""
    group = reference.api_version.rpartition("/")[0]
    for kind in cluster.tables:
        if (kind.group, kind.name) == (group, reference.kind):
            return kind
    return None


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
    """Whether it is deleted in the foreground: as soon as its dependents are gone."""
    meta = item.metadata
    return meta.deletion_timestamp is not None and FOREGROUND in meta.finalizers


def dependents(cluster: ClusterState, uid: str) -> Iterator[tuple[Kind, Object]]:
    """Every object that names an owner of this uid."""
    for kind, table in cluster.tables.items():
        for item in table.owned_by(uid):
            yield kind, item


def blocks(item: Object, uid: str) -> bool:
    """Whether the owner of this uid must wait for ``item``."""
    return any(
        ref.uid == uid and ref.block_owner_deletion for ref in item.metadata.owner_references
    )
