"""The volumes of a Pod: folders that its containers mount."""

from typing import Any

from pydantic import Field

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
    """A folder that lives as long as its Pod; ``medium`` Memory makes it a tmpfs."""

    medium: str | None = None
    size_limit: str | int | None = None
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
    """A PersistentVolumeClaim; kept for other agents, podwire's mounts none."""

    claim_name: str = ""
    read_only: bool | None = None


class Volume(Model):
    """A folder that containers of a Pod can mount; exactly one source is set."""

    name: str = ""
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    host_path: HostPathVolume | None = None
    downward_api: DownwardVolume | None = Field(default=None, alias="downwardAPI")
    projected: dict[str, Any] | None = None
    persistent_volume_claim: ClaimVolume | None = None
    # Storage that podwire keeps for other agents, and does not look into.
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cephfs: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    csi: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    fc: dict[str, Any] | None = None
    flex_volume: dict[str, Any] | None = None
    flocker: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    git_repo: dict[str, Any] | None = None
    glusterfs: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    iscsi: dict[str, Any] | None = None
    nfs: dict[str, Any] | None = None
    photon_persistent_disk: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    quobyte: dict[str, Any] | None = None
    rbd: dict[str, Any] | None = None
    scale_io: dict[str, Any] | None = Field(default=None, alias="scaleIO")
    storageos: dict[str, Any] | None = None
    vsphere_volume: dict[str, Any] | None = None
