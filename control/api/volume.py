"""The volumes of a Pod."""

from typing import Any

from pydantic import Field

from control.api import storage
from control.api.base import Model
from control.api.container import FieldRef, ResourceFieldRef


class KeyToPath(Model):
    """One key as one file."""

    key: str = ""
    path: str = ""
    mode: int | None = None
    user: int | None = None


class ConfigMapVolume(Model):
    """The keys of a ConfigMap as files."""

    name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    default_user: int | None = None
    optional: bool | None = None


class SecretVolume(Model):
    """The keys of a Secret as files."""

    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    default_user: int | None = None
    optional: bool | None = None


class EmptyDirVolume(Model):
    """A directory with the lifetime of its Pod; ``medium`` Memory makes it a tmpfs."""

    medium: str | None = None
    size_limit: str | int | float | None = None
    mode: int | None = None


class HostPathVolume(Model):
    """A path of the node."""

    path: str = ""
    type: str | None = None


class DownwardFile(Model):
    """A field of the Pod as a file."""

    path: str = ""
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None
    user: int | None = None


class DownwardVolume(Model):
    """Fields of the Pod as files."""

    items: list[DownwardFile] = []
    default_mode: int | None = None
    default_user: int | None = None


class ClaimVolume(Model):
    """A PersistentVolumeClaim, for other agents; podwire's agent mounts none."""

    claim_name: str = ""
    read_only: bool | None = None


class Volume(Model):
    """A directory that a Pod's containers can mount; exactly one source is set."""

    name: str = ""
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    host_path: HostPathVolume | None = None
    downward_api: DownwardVolume | None = Field(default=None, alias="downwardAPI")
    projected: dict[str, Any] | None = None
    persistent_volume_claim: ClaimVolume | None = None
    # Sources that podwire stores for other agents without reading them.
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cephfs: storage.CephFSVolume | None = None
    cinder: storage.CinderVolume | None = None
    csi: storage.CSIVolume | None = None
    ephemeral: storage.EphemeralVolume | None = None
    fc: storage.FCVolume | None = None
    flex_volume: storage.FlexVolume | None = None
    flocker: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    git_repo: dict[str, Any] | None = None
    glusterfs: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    iscsi: storage.ISCSIVolume | None = None
    nfs: dict[str, Any] | None = None
    photon_persistent_disk: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    quobyte: dict[str, Any] | None = None
    rbd: storage.RBDVolume | None = None
    scale_io: storage.ScaleIOVolume | None = Field(default=None, alias="scaleIO")
    storageos: storage.StorageOSVolume | None = None
    vsphere_volume: dict[str, Any] | None = None
