"""Validate the sources of volumes that other agents mount: disks, shares and claims. Pure.

podwire's agent mounts none of them. Source: k8s.io/kubernetes/pkg/apis/core/validation
(validateVolumeSource)
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.validation import text
from control.api.validation.claims import validate_claim_template
from control.api.validation.meta import invalid_each
from control.api.validation.pods.paths import validate_descending

Wire = Mapping[str, Any]
Check = Callable[[str, Wire], list[FieldError]]

_NAMES = {
    "iqn": re.compile(r".*iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)", re.ASCII | re.DOTALL),
    "eui": re.compile(r"eui.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa.[A-Za-z0-9]{32}"),
}
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*")
_BYTE = range(256)
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_CACHING = ("None", "ReadOnly", "ReadWrite")
_DISKS = ("Dedicated", "Managed", "Shared")
_MANAGED = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/"
    "{disk-id}"
)
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_TENANT_MAX = 64
_DRIVER_MAX = 63
_RESERVED = (".kubernetes.io", ".k8s.io")


def _needs(*names: str) -> Check:
    """Return a check that requires fields."""

    def check(path: str, source: Wire) -> list[FieldError]:
        return [field.required(f"{path}.{name}") for name in names if not source.get(name)]

    return check


def _secret_ref(path: str, source: Wire) -> list[FieldError]:
    if "secretRef" not in source or source["secretRef"].get("name"):
        return []
    return [field.required(f"{path}.secretRef.name")]


def _cinder(path: str, source: Wire) -> list[FieldError]:
    return _needs("volumeID")(path, source) + _secret_ref(path, source)


def _disk(name: str, path: str, source: Wire) -> list[FieldError]:
    if name == "pdName":  # upstream's path of this source has another name
        path = path.removesuffix("gcePersistentDisk") + "persistentDisk"
    found = [] if source.get(name) else [field.required(f"{path}.{name}")]
    if (partition := source.get("partition", 0)) not in _BYTE:
        found += invalid_each(f"{path}.partition", partition, text.in_range(partition, 1, 255))
    return found


def _git_repo(path: str, source: Wire) -> list[FieldError]:
    found = _needs("repository")(path, source)
    return found + validate_descending(f"{path}.directory", source.get("directory", ""))


def _nfs(path: str, source: Wire) -> list[FieldError]:
    found = _needs("server", "path")(path, source)
    if not source.get("path", "").startswith("/"):
        why = "must be an absolute path"
        found.append(field.invalid(f"{path}.path", source.get("path", ""), why))
    return found


def _iscsi(path: str, source: Wire) -> list[FieldError]:
    found = _needs("targetPortal", "iqn")(path, source)
    if source.get("iqn"):
        found += _initiator(f"{path}.iqn", source["iqn"])
    if (lun := source.get("lun", 0)) not in _BYTE:
        found += invalid_each(f"{path}.lun", lun, text.in_range(lun, 0, 255))
    chap = source.get("chapAuthDiscovery") or source.get("chapAuthSession")
    if chap and "secretRef" not in source:
        found.append(field.required(f"{path}.secretRef"))
    if "initiatorName" in source:
        found += _initiator(f"{path}.initiatorname", source["initiatorName"])
    return found


def _initiator(path: str, name: str) -> list[FieldError]:
    if name[:3] not in _NAMES:
        why = "must be valid format starting with iqn, eui, or naa"
        return [field.invalid(path, name, why)]
    if not _NAMES[name[:3]].fullmatch(name):
        return [field.invalid(path, name, "must be valid format")]
    return []


def _flocker(path: str, source: Wire) -> list[FieldError]:
    name, found = source.get("datasetName", ""), []
    if not name and not source.get("datasetUUID"):
        found.append(field.required(path, "one of datasetName and datasetUUID is required"))
    if name and source.get("datasetUUID"):
        why = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(field.invalid(path, "resource", why))
    if "/" in name:
        found.append(field.invalid(f"{path}.datasetName", name, "must not contain '/'"))
    return found


def _quobyte(path: str, source: Wire) -> list[FieldError]:
    registry, found = source.get("registry", ""), []
    why = "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        found.append(field.required(f"{path}.registry", why))
    elif len(source.get("tenant", "").encode()) > _TENANT_MAX:
        limit = "must be a UUID and may not exceed a length of 64 characters"
        found.append(field.required(f"{path}.tenant", limit))
    elif not all(_HOST_PORT.fullmatch(pair) for pair in registry.split(",")):
        found.append(field.invalid(f"{path}.registry", registry, why))
    return found + _needs("volume")(path, source)


def _fc(path: str, source: Wire) -> list[FieldError]:
    wwns, lun, found = source.get("targetWWNs"), source.get("lun"), []
    if not wwns and not source.get("wwids"):
        why = "must specify either targetWWNs or wwids, but not both"
        found.append(field.required(f"{path}.targetWWNs", why))
    if wwns and source.get("wwids"):
        why = "targetWWNs and wwids can not be specified simultaneously"
        found.append(field.invalid(f"{path}.targetWWNs", wwns, why))
    if wwns and lun is None:
        why = "lun is required if targetWWNs is specified"
        found.append(field.required(f"{path}.lun", why))
    elif wwns and lun not in _BYTE:
        found.append(field.invalid(f"{path}.lun", lun, "must be between 0 and 255, inclusive"))
    return found


def _flex(path: str, source: Wire) -> list[FieldError]:
    found = [] if source.get("driver") else [field.required(f"{path}.driver")]
    for key in source.get("options", ()):
        if f".{key.partition('/')[0].lower()}".endswith(_RESERVED):
            why = "kubernetes.io and k8s.io namespaces are reserved"
            found.append(field.invalid(f"{path}.options[{key}]", key, why))
    return found


def _azure_disk(path: str, source: Wire) -> list[FieldError]:
    found = _needs("diskName", "diskURI")(path, source)
    for name, known in (("cachingMode", _CACHING), ("kind", _DISKS)):
        if name in source and source[name] not in known:
            found.append(field.not_supported(f"{path}.{name}", source[name], known))
    uri, kind = source.get("diskURI", ""), source.get("kind")
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        found.append(field.not_supported(f"{path}.diskURI", uri, [_MANAGED]))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        found.append(field.not_supported(f"{path}.diskURI", uri, [_BLOB]))
    return found


def _storageos(path: str, source: Wire) -> list[FieldError]:
    found = _needs("volumeName")(path, source) + _secret_ref(path, source)
    for name in ("volumeName", "volumeNamespace"):
        if value := source.get(name):
            found += invalid_each(f"{path}.{name}", value, text.dns_label(value))
    return found


def _csi(path: str, source: Wire) -> list[FieldError]:
    found = list(validate_driver(f"{path}.driver", source.get("driver", "")))
    if "nodePublishSecretRef" in source:
        name = source["nodePublishSecretRef"].get("name", "")
        if not name:
            return [*found, field.required(f"{path}.nodePublishSecretRef.name")]
        found += invalid_each(f"{path}.name", name, text.dns_subdomain(name))
    return found


def validate_driver(path: str, name: str) -> Iterator[FieldError]:
    """Check the name of a CSI driver; the case of its letters does not matter."""
    if not name:
        yield field.required(path)
        return
    if len(name) > _DRIVER_MAX:
        yield field.too_long(path, _DRIVER_MAX)
    yield from invalid_each(path, name, text.dns_subdomain(name.lower()))


def _ephemeral(path: str, source: Wire) -> list[FieldError]:
    own = f"{path}.volumeClaimTemplate"
    if "volumeClaimTemplate" not in source:
        return [field.required(own)]
    return validate_claim_template(own, source["volumeClaimTemplate"])


def _image(path: str, source: Wire) -> list[FieldError]:
    policy = source.get("pullPolicy", "")
    if not policy:
        return [field.required(f"{path}.pullPolicy")]
    if policy not in _PULL_POLICIES:
        return [field.not_supported(f"{path}.pullPolicy", policy, _PULL_POLICIES)]
    return []


# By the order in which upstream looks at them: the first that is given is checked.
OTHERS: dict[str, Check] = {
    "gitRepo": _git_repo,
    "gcePersistentDisk": partial(_disk, "pdName"),
    "awsElasticBlockStore": partial(_disk, "volumeID"),
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _cinder,
    "cephfs": _needs("monitors"),
    "quobyte": _quobyte,
    "fc": _fc,
    "flexVolume": _flex,
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": _storageos,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
