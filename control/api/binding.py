"""Which volume a claim gets. Pure: the controller and the scheduler choose by the same rules.

Source: k8s.io/component-helpers/storage/volume (FindMatchingVolume).
"""

from collections.abc import Collection, Iterable

from control.api.node import Node
from control.api.persistent import (
    BOUND_BY_CONTROLLER,
    ClaimReference,
    PersistentVolume,
    PersistentVolumeClaim,
    is_claimed_by,
)
from control.api.scheduling import selects as selects_node
from control.api.selectors import selects

_AVAILABLE, _FILES = "Available", "Filesystem"


def reaches(volume: PersistentVolume, node: Node) -> bool:
    """Return True if a node can use a volume."""
    affinity = volume.spec.node_affinity
    required = affinity.required if affinity else None
    return required is None or selects_node(required, node)


def best_match(
    claim: PersistentVolumeClaim,
    volumes: Iterable[PersistentVolume],
    *,
    node: Node | None = None,
    delayed: bool = False,
    taken: Collection[str] = (),
) -> PersistentVolume | None:
    """Return the volume that a claim gets: the one that is kept for it, or the smallest that fits.

    A ``node`` has to reach it. Without a node, a claim whose binding is ``delayed`` gets only what
    is kept for it. ``taken`` are the names of volumes that others get.
    """
    fitting = []
    for volume in volumes:
        if volume.metadata.name in taken or not _could_be(volume, claim):
            continue
        near = node is None or reaches(volume, node)
        if is_claimed_by(volume, claim):
            return volume if near else None
        if near and not (node is None and delayed) and _suits(volume, claim):
            fitting.append(volume)
    # Volumes that allow no more than what is asked for go first, as upstream's.
    return min(
        fitting,
        key=lambda it: (len(it.spec.access_modes), it.size.nano, it.metadata.name),
        default=None,
    )


def _could_be(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    return (
        (volume.spec.claim_ref is None or is_claimed_by(volume, claim))
        and volume.size >= claim.size
        and volume.metadata.deletion_timestamp is None
        and _mode(volume.spec.volume_mode) == _mode(claim.spec.volume_mode)
        and (volume.spec.volume_attributes_class_name or "")
        == (claim.spec.volume_attributes_class_name or "")
    )


def _suits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    wanted = claim.spec.selector
    return (
        volume.status.phase == _AVAILABLE
        and (wanted is None or selects(wanted, volume.metadata.labels))
        and volume.storage_class == claim.storage_class
        and set(claim.spec.access_modes) <= set(volume.spec.access_modes)
    )


def _mode(given: str | None) -> str:
    return given or _FILES


def misfit(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Return why a claim cannot have the volume that it names; empty if it can."""
    if volume.size < claim.size:
        return "requested PV is too small"
    if volume.storage_class != claim.storage_class:
        return "storageClassName does not match"
    if _mode(volume.spec.volume_mode) != _mode(claim.spec.volume_mode):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return ""


def reference_to(claim: PersistentVolumeClaim) -> ClaimReference:
    """Return what a volume says of the claim that it is bound to."""
    meta = claim.metadata
    return ClaimReference(
        api_version="v1",
        kind="PersistentVolumeClaim",
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def kept_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """Return a volume that is bound to a claim, on the volume's side."""
    ref = volume.spec.claim_ref
    if ref is not None and ref.uid == claim.metadata.uid and is_claimed_by(volume, claim):
        return volume
    annotations = volume.metadata.annotations
    if not is_claimed_by(volume, claim):
        annotations = annotations | {BOUND_BY_CONTROLLER: "yes"}
    made = reference_to(claim)
    return volume.model_copy(
        update={
            "spec": volume.spec.model_copy(update={"claim_ref": made}),
            "metadata": volume.metadata.model_copy(update={"annotations": annotations}),
        }
    )
