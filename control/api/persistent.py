"""Volumes that outlive Pods, the claims on them, and the classes of such volumes.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/ and
https://kubernetes.io/docs/concepts/storage/storage-classes/
"""

from typing import Any

from pydantic import Field

from control.api import storage
from control.api.base import Model
from control.api.meta import Condition, Object
from control.api.placement import NodeSelector
from control.api.quantity import ZERO, Quantity, parse
from control.api.storage import ClaimSpec
from control.api.volume import HostPathVolume

Amounts = dict[str, str | int | float]

OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONERS = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
SELECTED_NODE = "volume.kubernetes.io/selected-node"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
DEFAULT_CLASSES = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
DELAYED, BY_HAND = "WaitForFirstConsumer", "kubernetes.io/no-provisioner"
RETAIN, DELETE, RECYCLE = "Retain", "Delete", "Recycle"


class ClaimReference(Model):
    """The claim to which a volume is bound; without a uid, the one that is to have it."""

    api_version: str | None = None
    field_path: str | None = None
    kind: str | None = None
    name: str = ""
    namespace: str = ""
    resource_version: str | None = None
    uid: str = ""


class LocalVolume(Model):
    """A directory or a disk of one node."""

    path: str = ""
    fs_type: str | None = None


class VolumeNodeAffinity(Model):
    """The nodes from which a volume can be reached; none is all of them."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(Model):
    """A volume: its size, how it may be used, and where it is; exactly one source is set."""

    capacity: Amounts = {}
    access_modes: list[str] = []
    claim_ref: ClaimReference | None = None
    persistent_volume_reclaim_policy: str | None = None
    storage_class_name: str | None = None
    mount_options: list[str] = []
    volume_mode: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    volume_attributes_class_name: str | None = None
    host_path: HostPathVolume | None = None
    local: LocalVolume | None = None
    # Sources that podwire stores for other agents without reading them.
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cephfs: dict[str, Any] | None = None
    cinder: storage.CinderVolume | None = None
    csi: dict[str, Any] | None = None
    fc: storage.FCVolume | None = None
    flex_volume: dict[str, Any] | None = None
    flocker: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    glusterfs: dict[str, Any] | None = None
    iscsi: storage.ISCSIVolume | None = None
    nfs: dict[str, Any] | None = None
    photon_persistent_disk: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    quobyte: dict[str, Any] | None = None
    rbd: dict[str, Any] | None = None
    scale_io: dict[str, Any] | None = Field(default=None, alias="scaleIO")
    storageos: dict[str, Any] | None = None
    vsphere_volume: dict[str, Any] | None = None


class PersistentVolumeStatus(Model):
    """``phase`` is Pending, Available, Bound, Released or Failed."""

    phase: str | None = None
    message: str | None = None
    reason: str | None = None
    last_phase_transition_time: str | None = None


class PersistentVolume(Object):
    """core/v1 PersistentVolume."""

    spec: PersistentVolumeSpec = Field(default_factory=PersistentVolumeSpec)
    status: PersistentVolumeStatus = Field(default_factory=PersistentVolumeStatus)

    @property
    def storage_class(self) -> str:
        """The name of the class; the old annotation goes first."""
        return self.metadata.annotations.get(OLD_CLASS) or self.spec.storage_class_name or ""

    @property
    def size(self) -> Quantity:
        """The capacity."""
        return _storage(self.spec.capacity)


class PersistentVolumeClaimStatus(Model):
    """``phase`` is Pending, Bound or Lost."""

    phase: str | None = None
    access_modes: list[str] = []
    capacity: Amounts = {}
    conditions: list[Condition] = []
    allocated_resources: Amounts = {}
    allocated_resource_statuses: dict[str, str] = {}
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: dict[str, Any] | None = None


class PersistentVolumeClaim(Object):
    """core/v1 PersistentVolumeClaim."""

    spec: ClaimSpec = Field(default_factory=ClaimSpec)
    status: PersistentVolumeClaimStatus = Field(default_factory=PersistentVolumeClaimStatus)

    @property
    def storage_class(self) -> str:
        """The name of the class; the old annotation goes first."""
        return self.metadata.annotations.get(OLD_CLASS) or self.spec.storage_class_name or ""

    @property
    def size(self) -> Quantity:
        """The requested size."""
        return _storage(self.spec.resources.requests if self.spec.resources else {})

    @property
    def is_bound(self) -> bool:
        """True if the binding is complete on the claim's side."""
        return bool(self.spec.volume_name) and BIND_COMPLETED in self.metadata.annotations


class StorageClass(Object):
    """storage.k8s.io/v1 StorageClass: who makes the volumes of a class, and how."""

    provisioner: str = ""
    parameters: dict[str, str] = {}
    reclaim_policy: str | None = None
    mount_options: list[str] = []
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str | None = None
    allowed_topologies: list[dict[str, Any]] = []

    @property
    def is_default(self) -> bool:
        """True if claims that name no class get this one."""
        return any(self.metadata.annotations.get(name) == "true" for name in DEFAULT_CLASSES)

    @property
    def is_delayed(self) -> bool:
        """True if a volume is chosen or made only when a Pod needs it."""
        return self.volume_binding_mode == DELAYED


def _storage(amounts: Amounts) -> Quantity:
    found = amounts.get("storage")
    return ZERO if found is None else parse(found)


def is_claimed_by(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """True if a volume's reference names a claim: by name, and by uid if it has one."""
    ref = volume.spec.claim_ref
    if ref is None or (ref.namespace, ref.name) != claim.key:
        return False
    return ref.uid in ("", claim.metadata.uid)


def ephemeral_claim(pod_name: str, volume_name: str) -> str:
    """Return the name of the claim of a Pod's ephemeral volume."""
    return f"{pod_name}-{volume_name}"
