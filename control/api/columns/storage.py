"""The table columns of volumes, claims, classes and devices. Pure."""

from collections.abc import Sequence
from datetime import datetime

from control.api.columns.base import AGE, NAME, Cell, Column, Columns, Wire, age_of, name_of, wide
from control.api.columns.fields import UNSET, flag, plain, text

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULTS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _modes(given: Sequence[str]) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _class_of(wire: Wire) -> str:
    """Return a volume's or a claim's class; the old annotation goes first."""
    annotation = (wire["metadata"].get("annotations") or {}).get(_CLASS)
    return str(annotation or text(wire, "spec.storageClassName", ""))


def _phase(wire: Wire) -> str:
    deleted = "deletionTimestamp" in wire["metadata"]
    return "Terminating" if deleted else text(wire, "status.phase", "")


def _volume(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec = wire.get("spec", {})
    claim = spec.get("claimRef")
    return (
        name_of(wire),
        spec.get("capacity", {}).get("storage", "0"),
        _modes(spec.get("accessModes", ())),
        text(wire, "spec.persistentVolumeReclaimPolicy", ""),
        _phase(wire),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class_of(wire),
        text(wire, "spec.volumeAttributesClassName", UNSET),
        text(wire, "status.reason", ""),
        age_of(wire, now),
        text(wire, "spec.volumeMode", UNSET),
    )


PERSISTENT_VOLUME = Columns(
    (
        NAME,
        *map(Column, ("Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim")),
        *map(Column, ("StorageClass", "VolumeAttributesClass", "Reason")),
        AGE,
        wide("VolumeMode"),
    ),
    _volume,
)


def _claim(wire: Wire, now: datetime) -> Sequence[Cell]:
    bound, status = text(wire, "spec.volumeName", ""), wire.get("status", {})
    return (
        name_of(wire),
        _phase(wire),
        bound,
        status.get("capacity", {}).get("storage", "0") if bound else "",
        _modes(status.get("accessModes", ())) if bound else "",
        _class_of(wire),
        text(wire, "spec.volumeAttributesClassName", UNSET),
        age_of(wire, now),
        text(wire, "spec.volumeMode", UNSET),
    )


PERSISTENT_VOLUME_CLAIM = Columns(
    (
        NAME,
        *map(Column, ("Status", "Volume", "Capacity", "Access Modes", "StorageClass")),
        Column("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ),
    _claim,
)


def _storage_class(wire: Wire, now: datetime) -> Sequence[Cell]:
    given = wire["metadata"].get("annotations") or {}
    default = any(given.get(name) == "true" for name in _DEFAULTS)
    return (
        name_of(wire) + " (default)" * default,
        text(wire, "provisioner", ""),
        text(wire, "reclaimPolicy", "Delete"),
        text(wire, "volumeBindingMode", "Immediate"),
        flag(wire, "allowVolumeExpansion"),
        age_of(wire, now),
    )


STORAGE_CLASS = Columns(
    (
        NAME,
        *map(Column, ("Provisioner", "ReclaimPolicy", "VolumeBindingMode")),
        Column("AllowVolumeExpansion"),
        AGE,
    ),
    _storage_class,
)
VOLUME_ATTRIBUTES_CLASS = plain(("DriverName", "driverName", ""))


def _attachment(wire: Wire, now: datetime) -> Sequence[Cell]:
    return (
        name_of(wire),
        text(wire, "spec.attacher", ""),
        text(wire, "spec.source.persistentVolumeName", ""),
        text(wire, "spec.nodeName", ""),
        flag(wire, "status.attached"),
        age_of(wire, now),
    )


VOLUME_ATTACHMENT = Columns(
    (
        NAME,
        Column("Attacher", format="name"),
        *map(Column, ("PV", "Node")),
        Column("Attached", type="boolean"),
        AGE,
    ),
    _attachment,
)


def _csi_node(wire: Wire, now: datetime) -> Sequence[Cell]:
    return name_of(wire), len(wire.get("spec", {}).get("drivers", ())), age_of(wire, now)


CSI_NODE = Columns((NAME, Column("Drivers", type="integer"), AGE), _csi_node)


def _csi_driver(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec = wire.get("spec", {})
    audiences = [request.get("audience", "") for request in spec.get("tokenRequests", ())]
    return (
        name_of(wire),
        flag(wire, "spec.attachRequired", absent=True),
        flag(wire, "spec.podInfoOnMount"),
        flag(wire, "spec.storageCapacity"),
        ",".join(audiences) or UNSET,
        flag(wire, "spec.requiresRepublish"),
        ",".join(spec.get("volumeLifecycleModes", ())) or "<none>",
        age_of(wire, now),
    )


CSI_DRIVER = Columns(
    (
        NAME,
        *(Column(name, type="boolean") for name in ("AttachRequired", "PodInfoOnMount")),
        Column("StorageCapacity", type="boolean"),
        Column("TokenRequests"),
        Column("RequiresRepublish", type="boolean"),
        Column("Modes"),
        AGE,
    ),
    _csi_driver,
)


def _resource_claim(wire: Wire, now: datetime) -> Sequence[Cell]:
    status = wire.get("status", {})
    states = {
        "deleted": "deletionTimestamp" in wire["metadata"],
        "allocated": "allocation" in status,
        "reserved": "allocation" in status and bool(status.get("reservedFor")),
    }
    state = ",".join(name for name, holds in states.items() if holds)
    return name_of(wire), state or "pending", age_of(wire, now)


RESOURCE_CLAIM = Columns((NAME, Column("State"), AGE), _resource_claim)
RESOURCE_SLICE = plain(
    ("Node", "spec.nodeName", UNSET),
    ("Driver", "spec.driver", ""),
    ("Pool", "spec.pool.name", ""),
)
