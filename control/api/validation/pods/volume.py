"""Validate the volumes of a Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateVolumes, validateVolumeSource)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from control.api import field
from control.api.container import ResourceFieldRef
from control.api.field import FieldError
from control.api.quantity import parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.env import (
    FILE_FIELDS,
    validate_field_ref,
    validate_resource_ref,
)
from control.api.validation.pods.paths import validate_local, validate_no_backsteps
from control.api.validation.pods.sources import OTHERS
from control.api.volume import Volume

Wire = Mapping[str, Any]

_MODE_MAX = 0o777
_MODE_WRONG = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATHS = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_TOKEN_LEAST, _TOKEN_MOST = 10 * 60, 1 << 32  # seconds
_NAME_MAX = 64


def validate_volumes(path: str, volumes: Sequence[Volume], pod: str = "") -> list[FieldError]:
    """Check that each volume has a unique name and one source; ``pod`` is the name of a Pod."""
    found: list[FieldError] = []
    names: set[str] = set()
    for at, volume in enumerate(volumes):
        own, wire = f"{path}[{at}]", volume.wire()
        found += _source(own, wire)
        if not volume.name:
            found.append(field.required(f"{own}.name"))
        else:
            found += invalid_each(f"{own}.name", volume.name, text.dns_label(volume.name))
        if volume.name in names:
            found.append(field.duplicate(f"{own}.name", volume.name))
        names.add(volume.name)
    return found + (_of_pod(path, volumes, pod) if pod else [])


def _source(path: str, wire: Wire) -> list[FieldError]:
    given = [name for name in wire if name in _CHECKS]
    if not given:
        return [field.required(path, "must specify a volume type")]
    if len(given) > 1:
        given = [name for name in _CHECKS if name in wire]
    why = "may not specify more than 1 volume type"
    more = [field.forbidden(f"{path}.{name}", why) for name in given[1:]]
    return _CHECKS[given[0]](f"{path}.{given[0]}", wire[given[0]]) + more


def _of_pod(path: str, volumes: Sequence[Volume], pod: str) -> list[FieldError]:
    """Check what only a Pod has: the names of the claims that are made with it, and images."""
    found = []
    made = {f"{pod}-{volume.name}" for volume in volumes if volume.ephemeral is not None}
    for at, volume in enumerate(volumes):
        own, claim = f"{path}[{at}]", volume.persistent_volume_claim
        if volume.ephemeral is not None:
            name = f"{pod}-{volume.name}"
            messages = (f'PVC name "{name}": {why}' for why in text.dns_subdomain(name))
            found += invalid_each(f"{own}.name", volume.name, messages)
        if claim is not None and claim.claim_name in made:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            own = f"{own}.persistentVolumeClaim.claimName"
            found.append(field.invalid(own, claim.claim_name, why))
        if volume.image is not None and not volume.image.get("reference"):
            found.append(field.required(f"{own}.image.reference"))
        if volume.iscsi is not None and volume.iscsi.initiator_name is not None:
            found += _portal(own, volume.name, volume.iscsi.target_portal)
    return found


def _portal(path: str, name: str, portal: str) -> list[FieldError]:
    if len(f"{name}:{portal}") <= _NAME_MAX:
        return []
    why = (
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if"
        " iscsi.initiatorName is specified."
    )
    return [field.invalid(f"{path}.name", name, why)]


def _empty_dir(path: str, source: Wire) -> list[FieldError]:
    if "sizeLimit" not in source or parse(source["sizeLimit"]).nano >= 0:
        return []
    why = "SizeLimit field must be a valid resource quantity"
    return [field.forbidden(f"{path}.sizeLimit", why)]


def validate_host_path(path: str, source: Wire) -> list[FieldError]:
    """Check a path of a node, and what it has to be."""
    value, kind = source.get("path", ""), source.get("type")
    if not value:
        return [field.required(f"{path}.path")]
    found = validate_no_backsteps(f"{path}.path", value)
    if kind is not None and kind not in _HOST_PATHS:
        found.append(field.not_supported(f"{path}.type", kind, _HOST_PATHS))
    return found


def _keys(name: str) -> Callable[[str, Wire], list[FieldError]]:
    """Return a check of keys as files; ``name`` is the field that names their object."""

    def check(path: str, source: Wire) -> list[FieldError]:
        found = [] if source.get(name) else [field.required(f"{path}.{name}")]
        found += _mode(path, source, "defaultMode")
        for at, item in enumerate(source.get("items", ())):
            found += _item(f"{path}.items[{at}]", item)
        return found

    return check


def _item(path: str, item: Wire) -> list[FieldError]:
    found = [] if item.get("key") else [field.required(f"{path}.key")]
    return found + _local(path, item) + _mode(path, item, "mode")


def _local(path: str, item: Wire) -> list[FieldError]:
    value = item.get("path", "")
    if not value:
        return [field.required(f"{path}.path")]
    if value[0] != "/" and ".." not in value:
        return []
    return validate_local(f"{path}.path", value)


def _mode(path: str, source: Wire, name: str) -> list[FieldError]:
    mode = source.get(name)
    if mode is None or 0 <= mode <= _MODE_MAX:
        return []
    return [field.invalid(f"{path}.{name}", mode, _MODE_WRONG)]


def _downward(path: str, source: Wire) -> list[FieldError]:
    """Check fields of the Pod as files; upstream's paths have no number here."""
    found = _mode(path, source, "defaultMode")
    for item in source.get("items", ()):
        found += _local(path, item) + _file(path, item) + _mode(path, item, "mode")
    return found


def _file(path: str, item: Wire) -> list[FieldError]:
    of_pod, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if of_pod is not None:
        version, label = of_pod.get("apiVersion", ""), of_pod.get("fieldPath", "")
        found = validate_field_ref(f"{path}.fieldRef", version, label, FILE_FIELDS)
        if resource is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(field.invalid(path, "resource", why))
        return found
    if resource is not None:
        given = ResourceFieldRef.model_validate(resource)
        return validate_resource_ref(f"{path}.resourceFieldRef", given, in_volume=True)
    return [field.required(path, "one of fieldRef and resourceFieldRef is required")]


def _projected(path: str, source: Wire) -> list[FieldError]:
    found = _mode(path, source, "defaultMode")
    taken: set[str] = set()
    for at, wire in enumerate(source.get("sources", ())):
        part = {name: wire[name] for name in _PROJECTIONS if name in wire}
        for name, given in part.items():
            found += _PROJECTIONS[name](f"{path}.sources[{at}].{name}", given)
            if name == "serviceAccountToken":
                found += _local(path, given)
            for item in given.get("items", ()):
                found += _once(path, given.get("name"), item.get("path"), taken)
        if len(part) > 1:
            why = "may not specify more than 1 volume type per source"
            found.append(field.forbidden(f"{path}.sources[{at}]", why))
    return found


def _once(path: str, name: str | None, file: str | None, taken: set[str]) -> list[FieldError]:
    if not file:
        return []
    if file in taken:
        return [field.invalid(path, name or file, "conflicting duplicate paths")]
    taken.add(file)
    return []


def _token(path: str, source: Wire) -> list[FieldError]:
    seconds, why = source.get("expirationSeconds", _TOKEN_LEAST), ""
    if seconds < _TOKEN_LEAST:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > _TOKEN_MOST:
        why = "may not specify a duration larger than 2^32 seconds"
    return [field.invalid(f"{path}.expirationSeconds", seconds, why)] if why else []


def _any(_path: str, _source: Wire) -> list[FieldError]:
    """Take what podwire does not mount, as it is."""
    return []


_PROJECTIONS = {
    "secret": _keys("name"),
    "configMap": _keys("name"),
    "downwardAPI": _downward,
    "serviceAccountToken": _token,
    "clusterTrustBundle": _any,
    "podCertificate": _any,
}
_CHECKS = {
    "emptyDir": _empty_dir,
    "hostPath": validate_host_path,
    "secret": _keys("secretName"),
    "configMap": _keys("name"),
    "downwardAPI": _downward,
    "projected": _projected,
} | OTHERS
