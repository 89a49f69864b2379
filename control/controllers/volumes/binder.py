"""Binds claims to volumes, and says what becomes of a volume whose claim is gone. Pure.

Source: k8s.io/kubernetes/pkg/controller/volume/persistentvolume (pv_controller.go).
"""

from collections.abc import Iterable, Iterator

from control.api import kinds
from control.api.binding import best_match, misfit
from control.api.meta import OwnerReference
from control.api.persistent import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    DELETE,
    OLD_CLASS,
    PROVISIONED_BY,
    PROVISIONERS,
    RECYCLE,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    is_claimed_by,
)
from control.api.pod import Pod
from control.client.cache import Key
from control.controllers.actions import Action, Collect, Report, Update
from control.controllers.loop import Source
from control.controllers.state import ClusterState
from control.controllers.volumes.bind import BOUND, bind, claim_in, in_phase
from control.controllers.volumes.users import claims_of, users

PENDING, LOST = "Pending", "Lost"
AVAILABLE, RELEASED, FAILED = "Available", "Released", "Failed"
_IN_TREE = "kubernetes.io/"


def _of_claim(cluster: ClusterState, claim: PersistentVolumeClaim) -> Iterator[Key]:
    yield claim.key
    if claim.spec.volume_name:
        yield "", claim.spec.volume_name
    for volume in cluster[kinds.PERSISTENT_VOLUME]:
        ref = volume.spec.claim_ref
        if ref is not None and (ref.namespace, ref.name) == claim.key:
            yield volume.key


def _of_volume(cluster: ClusterState, volume: PersistentVolume) -> Iterator[Key]:
    yield volume.key
    name, ref = volume.metadata.name, volume.spec.claim_ref
    if ref is not None:
        yield ref.namespace, ref.name
    for claim in cluster[kinds.VOLUME_CLAIM]:
        if claim.spec.volume_name == name or (ref is None and not claim.is_bound):
            yield claim.key


def _of_class(cluster: ClusterState, found: StorageClass) -> Iterator[Key]:
    for claim in cluster[kinds.VOLUME_CLAIM]:
        if not claim.is_bound and claim.storage_class in ("", found.metadata.name):
            yield claim.key


def _of_pod(cluster: ClusterState, pod: Pod) -> Iterator[Key]:
    for key in claims_of(pod):
        claim = cluster[kinds.VOLUME_CLAIM].get(*key)
        if claim is not None and not claim.is_bound:
            yield key


class VolumeBinder:
    """Binds claims to volumes. A claim's key has a namespace, a volume's has none."""

    component = "persistentvolume-controller"
    sources = (
        Source(kinds.VOLUME_CLAIM, _of_claim),
        Source(kinds.PERSISTENT_VOLUME, _of_volume),
        Source(kinds.STORAGE_CLASS, _of_class),
        Source(kinds.POD, _of_pod),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterable[Action]:
        """Return the next write for a claim or a volume."""
        if not key[0]:
            volume = cluster[kinds.PERSISTENT_VOLUME].get(*key)
            return _volume(cluster, volume, now) if volume is not None else ()
        claim = cluster[kinds.VOLUME_CLAIM].get(*key)
        return _claim(cluster, claim, now) if claim is not None else ()


def _claim(cluster: ClusterState, claim: PersistentVolumeClaim, now: float) -> Iterator[Action]:
    volume = cluster[kinds.PERSISTENT_VOLUME].get(None, claim.spec.volume_name or "")
    if claim.is_bound:
        yield from _held(claim, volume, now)
    elif claim.spec.volume_name:
        yield from _named(claim, volume, now)
    elif BIND_COMPLETED in claim.metadata.annotations:
        why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        yield from _lost(claim, "ClaimLost", why)
    elif claim.metadata.deletion_timestamp is None:
        yield from _searching(cluster, claim, now)


def _held(
    claim: PersistentVolumeClaim, volume: PersistentVolume | None, now: float
) -> Iterator[Action]:
    """Yield what is due for a claim that was bound before."""
    if volume is None:
        why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        yield from _lost(claim, "ClaimLost", why)
    elif volume.spec.claim_ref is None or is_claimed_by(volume, claim):
        yield from bind(volume, claim, now)
    else:
        why = "Two claims are bound to the same volume, this one is bound incorrectly"
        yield from _lost(claim, "ClaimMisbound", why)


def _lost(claim: PersistentVolumeClaim, reason: str, why: str) -> Iterator[Action]:
    if claim.status.phase != LOST:
        yield from claim_in(claim, LOST)
        yield Report(claim, "Warning", reason, why)


def _named(
    claim: PersistentVolumeClaim, volume: PersistentVolume | None, now: float
) -> Iterator[Action]:
    """Yield what is due for a claim whose user chose the volume."""
    if volume is not None and is_claimed_by(volume, claim):
        yield from bind(volume, claim, now)
        return
    yield from claim_in(claim, PENDING)
    if volume is None:
        return
    name = volume.metadata.name
    if volume.spec.claim_ref is not None:
        why = f'volume "{name}" already bound to a different claim.'
        yield Report(claim, "Warning", "FailedBinding", why)
    elif why := misfit(volume, claim):
        text = f'Cannot bind to requested volume "{name}": {why}'
        yield Report(claim, "Warning", "VolumeMismatch", text)
    else:
        yield from bind(volume, claim, now)


def _searching(cluster: ClusterState, claim: PersistentVolumeClaim, now: float) -> Iterator[Action]:
    """Yield what is due for a claim that takes any volume that fits."""
    found = cluster[kinds.STORAGE_CLASS].get(None, claim.storage_class)
    chosen = SELECTED_NODE in claim.metadata.annotations
    waits = found is not None and found.is_delayed and not chosen
    volume = best_match(claim, cluster[kinds.PERSISTENT_VOLUME], delayed=waits)
    if volume is not None:
        yield from bind(volume, claim, now)
        return
    if default := _default_class(cluster, claim):
        spec = claim.spec.model_copy(update={"storage_class_name": default})
        yield Update(kinds.VOLUME_CLAIM, claim.model_copy(update={"spec": spec}))
        return
    if waits:
        yield _waiting(cluster, claim)
    elif claim.storage_class:
        yield from _provision(claim, found)
    else:
        why = "no persistent volumes available for this claim and no storage class is set"
        yield Report(claim, "Normal", "FailedBinding", why)
    yield from claim_in(claim, PENDING)


def _default_class(cluster: ClusterState, claim: PersistentVolumeClaim) -> str:
    """Return the class of a claim that names none: the newest default class (KEP-3333)."""
    if claim.spec.storage_class_name is not None or OLD_CLASS in claim.metadata.annotations:
        return ""
    found = [it.metadata for it in cluster[kinds.STORAGE_CLASS] if it.is_default]
    newest = max((meta.creation_timestamp or "" for meta in found), default="")
    names = (meta.name for meta in found if (meta.creation_timestamp or "") == newest)
    return min(names, default="")


def _waiting(cluster: ClusterState, claim: PersistentVolumeClaim) -> Report:
    names = sorted(
        pod.metadata.name
        for pod in users(cluster, claim)
        if pod.status.phase not in ("Succeeded", "Failed")
    )
    if not names:
        why = "waiting for first consumer to be created before binding"
        return Report(claim, "Normal", "WaitForFirstConsumer", why)
    noun = "pod" if len(names) == 1 else "pods"
    why = f"waiting for {noun} {','.join(names)} to be scheduled"
    return Report(claim, "Normal", "WaitForPodScheduled", why)


def _provision(claim: PersistentVolumeClaim, found: StorageClass | None) -> Iterator[Action]:
    """Yield what tells a provisioner to make a volume."""
    if found is None:
        why = f'storageclass.storage.k8s.io "{claim.storage_class}" not found'
        yield Report(claim, "Warning", "ProvisioningFailed", why)
        return
    name, held = found.provisioner, claim.metadata.annotations
    if name.startswith(_IN_TREE):
        why = f"no volume plugin matched name: {name}"
        yield Report(claim, "Warning", "ProvisioningFailed", why)
        return
    annotations = held | dict.fromkeys(PROVISIONERS, name)
    if annotations != held:
        metadata = claim.metadata.model_copy(update={"annotations": annotations})
        yield Update(kinds.VOLUME_CLAIM, claim.model_copy(update={"metadata": metadata}))
        return
    why = (
        f"Waiting for a volume to be created either by the external provisioner '{name}' or"
        " manually by the system administrator. If volume creation is delayed, please verify that"
        " the provisioner is running and correctly registered."
    )
    yield Report(claim, "Normal", "ExternalProvisioning", why)


def _volume(cluster: ClusterState, volume: PersistentVolume, now: float) -> Iterator[Action]:
    ref = volume.spec.claim_ref
    if ref is None or not ref.uid:
        if volume.status.phase != AVAILABLE:
            yield in_phase(volume, AVAILABLE, now)
        return
    claim = cluster[kinds.VOLUME_CLAIM].get(ref.namespace, ref.name)
    if claim is None or claim.metadata.uid != ref.uid:
        yield from _left(volume, now)
    elif claim.spec.volume_name == volume.metadata.name:
        if volume.status.phase != BOUND:
            yield in_phase(volume, BOUND, now)
    elif claim.spec.volume_name:
        yield from _superfluous(volume, now)


def _left(volume: PersistentVolume, now: float) -> Iterator[Action]:
    """Yield what is due for a volume whose claim is gone: the server is asked whether it is."""
    ref = volume.spec.claim_ref
    if ref is None:
        return
    if volume.status.phase not in (RELEASED, FAILED):
        owner = OwnerReference(
            api_version="v1", kind="PersistentVolumeClaim", name=ref.name, uid=ref.uid
        )
        absent = ((kinds.VOLUME_CLAIM, ref.namespace, owner),)
        yield Collect(kinds.PERSISTENT_VOLUME, volume, absent, in_phase(volume, RELEASED, now))
    elif volume.status.phase == RELEASED:
        yield from _reclaimed(volume, now)


def _reclaimed(volume: PersistentVolume, now: float) -> Iterator[Action]:
    policy = volume.spec.persistent_volume_reclaim_policy
    name = volume.metadata.name
    if policy == DELETE and PROVISIONED_BY not in volume.metadata.annotations:
        why = f'error getting deleter volume plugin for volume "{name}": no volume plugin matched'
        yield from _failed(volume, "VolumeFailedDelete", why, now)
    elif policy == RECYCLE:
        why = "No recycler plugin found for the volume!"
        yield from _failed(volume, "VolumeFailedRecycle", why, now)


def _failed(volume: PersistentVolume, reason: str, why: str, now: float) -> Iterator[Action]:
    yield in_phase(volume, FAILED, now, {"reason": None, "message": why})
    yield Report(volume, "Warning", reason, why)


def _superfluous(volume: PersistentVolume, now: float) -> Iterator[Action]:
    """Yield what is due for a volume whose claim has another one."""
    if (
        PROVISIONED_BY in volume.metadata.annotations
        and volume.spec.persistent_volume_reclaim_policy == DELETE
    ):
        if volume.status.phase not in (RELEASED, FAILED):
            yield in_phase(volume, RELEASED, now)
        return
    annotations = dict(volume.metadata.annotations)
    ref = volume.spec.claim_ref
    if annotations.pop(BOUND_BY_CONTROLLER, None) is None and ref is not None:
        left = ref.model_copy(update={"uid": "", "resource_version": None})
    else:
        left = None
    metadata = volume.metadata.model_copy(update={"annotations": annotations})
    spec = volume.spec.model_copy(update={"claim_ref": left})
    free = volume.model_copy(update={"spec": spec, "metadata": metadata})
    yield Update(kinds.PERSISTENT_VOLUME, free)
