"""Volume sources that podwire stores for other agents but does not mount."""

from pydantic import Field

from control.api.base import Model
from control.api.container import ResourceRequirements
from control.api.meta import LabelSelector, ObjectMeta


class SecretReference(Model):
    """A Secret, in the Pod's namespace unless another one is named."""

    name: str = ""
    namespace: str | None = None


class TypedReference(Model):
    """The object that supplies the data of a claim."""

    api_group: str | None = None
    kind: str = ""
    name: str = ""
    namespace: str | None = None


class ClaimSpec(Model):
    """The storage that a PersistentVolumeClaim requests."""

    access_modes: list[str] = []
    selector: LabelSelector | None = None
    resources: ResourceRequirements | None = None
    volume_name: str | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    data_source: TypedReference | None = None
    data_source_ref: TypedReference | None = None
    volume_attributes_class_name: str | None = None


class ClaimTemplate(Model):
    """A PersistentVolumeClaim that is created with a Pod."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: ClaimSpec = Field(default_factory=ClaimSpec)


class EphemeralVolume(Model):
    """A volume with the lifetime of its Pod, from a claim of its own."""

    volume_claim_template: ClaimTemplate | None = None


class CSIVolume(Model):
    """Storage of a CSI driver."""

    driver: str = ""
    read_only: bool | None = None
    fs_type: str | None = None
    volume_attributes: dict[str, str] = {}
    node_publish_secret_ref: SecretReference | None = None


class CephFSVolume(Model):
    """A folder of a Ceph file system."""

    monitors: list[str] = []
    path: str | None = None
    user: str | None = None
    secret_file: str | None = None
    secret_ref: SecretReference | None = None
    read_only: bool | None = None


class CinderVolume(Model):
    """A disk of OpenStack."""

    volume_id: str = ""
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: SecretReference | None = None


class FCVolume(Model):
    """A Fibre Channel disk."""

    target_wwns: list[str] = Field(default=[], alias="targetWWNs")
    lun: int | None = None
    fs_type: str | None = None
    read_only: bool | None = None
    wwids: list[str] = []


class FlexVolume(Model):
    """Storage of a driver that runs as a program."""

    driver: str = ""
    fs_type: str | None = None
    secret_ref: SecretReference | None = None
    read_only: bool | None = None
    options: dict[str, str] = {}


class ISCSIVolume(Model):
    """An iSCSI disk."""

    target_portal: str = ""
    iqn: str = ""
    lun: int = 0
    iscsi_interface: str | None = None
    fs_type: str | None = None
    read_only: bool | None = None
    portals: list[str] = []
    chap_auth_discovery: bool | None = None
    chap_auth_session: bool | None = None
    secret_ref: SecretReference | None = None
    initiator_name: str | None = None


class RBDVolume(Model):
    """A block device of Ceph."""

    monitors: list[str] = []
    image: str = ""
    fs_type: str | None = None
    pool: str | None = None
    user: str | None = None
    keyring: str | None = None
    secret_ref: SecretReference | None = None
    read_only: bool | None = None


class ScaleIOVolume(Model):
    """A volume of ScaleIO."""

    gateway: str = ""
    system: str = ""
    secret_ref: SecretReference | None = None
    ssl_enabled: bool | None = None
    protection_domain: str | None = None
    storage_pool: str | None = None
    storage_mode: str | None = None
    volume_name: str | None = None
    fs_type: str | None = None
    read_only: bool | None = None


class StorageOSVolume(Model):
    """A volume of StorageOS."""

    volume_name: str | None = None
    volume_namespace: str | None = None
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: SecretReference | None = None
