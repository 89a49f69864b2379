"""Validate the annotations of Pods that have a meaning: mirrors, deletion cost, profiles. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePodSpecificAnnotations,
ValidateTolerationsInPodAnnotations, validateSeccompAnnotationsAndFields,
validateAppArmorAnnotationsAndFieldsMatchOnCreate)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from control.api import field
from control.api.field import FieldError
from control.api.placement import Toleration
from control.api.pod import PodSpec
from control.api.validation.pods.paths import validate_descending
from control.api.validation.pods.placement import validate_tolerations
from control.api.wire import UnreadableError

_MIRROR = "kubernetes.io/config.mirror"
_COST = "controller.kubernetes.io/pod-deletion-cost"
_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
_NUMBER = re.compile("0|-[0-9]+|[1-9][0-9]*")
_DIGITS_MAX = 20
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LOCAL = "localhost/"
# The values of the annotations for the types of the fields that have taken their place.
_SECCOMP_VALUES = {
    "Unconfined": ("unconfined",),
    "RuntimeDefault": ("runtime/default", "docker/default"),
}
_ARMOR_VALUES = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default",)}

Annotations = Mapping[str, str]


def validate_pod_annotations(
    path: str, annotations: Annotations, spec: PodSpec
) -> list[FieldError]:
    """Check the annotations of a Pod or a template."""
    found = []
    if _MIRROR in annotations and not spec.node_name:
        why = "must set spec.nodeName if mirror pod annotation is set"
        found.append(field.invalid(f"{path}[{_MIRROR}]", annotations[_MIRROR], why))
    if tolerations := annotations.get(_TOLERATIONS):
        found += _tolerations(path, tolerations)
    cost = annotations.get(_COST, "0")
    if not _is_int32(cost):
        found.append(field.invalid(f"{path}[{_COST}]", cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP):
            found += _seccomp(f"{path}.{key}", value)
        elif key.startswith(_ARMOR):
            found += _armor(f"{path}[{key}]", key.removeprefix(_ARMOR), value, spec)
    return found


def _tolerations(path: str, text: str) -> list[FieldError]:
    """Check tolerations in JSON, as they were before they had a field; nobody acts on them."""
    try:
        read = [Toleration.read(item) for item in _items(orjson.loads(text))]
    except (orjson.JSONDecodeError, UnreadableError) as err:
        return [field.invalid(path, _TOLERATIONS, str(err))]
    return validate_tolerations(f"{path}.{_TOLERATIONS}", read)


def _items(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list without their nulls; null is an empty list, as in Go."""
    if not isinstance(value, list | None):
        raise UnreadableError("not a list of tolerations")
    for item in value or ():
        if not isinstance(item, dict | None):
            raise UnreadableError("a toleration is not an object")
        yield {key: part for key, part in (item or {}).items() if part is not None}


def _is_int32(value: str) -> bool:
    if len(value) > _DIGITS_MAX or not _NUMBER.fullmatch(value):
        return False
    return -(2**31) <= int(value) < 2**31


def _seccomp(path: str, value: str) -> list[FieldError]:
    if value.startswith(_LOCAL):
        return validate_descending(path, value.removeprefix(_LOCAL))
    if any(value in values for values in _SECCOMP_VALUES.values()):
        return []
    return [field.invalid(path, value, "must be a valid seccomp profile")]


def _armor(path: str, container: str, value: str, spec: PodSpec) -> list[FieldError]:
    found = []
    if container not in {name for _, name, _ in _contexts("", spec)}:
        found.append(field.invalid(path, container, "container not found"))
    known = value in ("", "runtime/default", "unconfined") or value.startswith(_LOCAL)
    if not known:
        why = f"invalid AppArmor profile name: {field.show(value)}"
        found.append(field.invalid(path, value, why))
    return found


def validate_profile_annotations(
    path: str, annotations: Annotations, spec: PodSpec
) -> list[FieldError]:
    """Check that annotations say the same as the fields of profiles, where both are there."""
    if not any(key.startswith((_SECCOMP_POD, _SECCOMP, _ARMOR)) for key in annotations):
        return []
    context = spec.security_context or {}
    found = []
    if (profile := context.get("seccompProfile")) and _SECCOMP_POD in annotations:
        own = f"{path}.securityContext.seccompProfile"
        found += _match(own, "seccomp", profile, annotations[_SECCOMP_POD])
    is_windows = (spec.os or {}).get("name") == "windows"
    for own, name, wire in _contexts(path, spec):
        seccomp, armor = wire.get("seccompProfile"), wire.get("appArmorProfile")
        armor = armor or context.get("appArmorProfile")
        if seccomp and f"{_SECCOMP}{name}" in annotations:
            value = annotations[f"{_SECCOMP}{name}"]
            found += _match(f"{own}.seccompProfile", "seccomp", seccomp, value)
        if armor and f"{_ARMOR}{name}" in annotations and not is_windows:
            value = annotations[f"{_ARMOR}{name}"]
            found += _match(f"{own}.appArmorProfile", "apparmor", armor, value)
    return found


def _contexts(path: str, spec: PodSpec) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the path, the container and the content of each security context."""
    for kind, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        for at, container in enumerate(containers):
            wire = container.security_context.wire() if container.security_context else {}
            yield f"{path}.{kind}[{at}].securityContext", container.name, wire


def _match(path: str, system: str, profile: Mapping[str, str], value: str) -> list[FieldError]:
    kind = profile.get("type", "")
    values = _SECCOMP_VALUES if system == "seccomp" else _ARMOR_VALUES
    why = f"{system} type in annotation and field must match"
    if kind in values:
        return [] if value in values[kind] else [field.forbidden(f"{path}.type", why)]
    if kind != "Localhost":
        return []
    if not value.startswith(_LOCAL):
        return [field.forbidden(f"{path}.type", why)]
    if value.removeprefix(_LOCAL) == profile.get("localhostProfile"):
        return []
    why = f"{system} profile in annotation and field must match"
    return [field.forbidden(f"{path}.localhostProfile", why)]


def validate_profile_changes(new: Annotations, old: Annotations) -> list[FieldError]:
    """Refuse changes of what a Pod was started by: its profiles, and that it is a mirror."""
    if new == old:
        return []
    found = []
    for key in sorted(new.keys() | old.keys()):
        if not (key == _MIRROR or key.startswith(_ARMOR)) or new.get(key) == old.get(key):
            continue
        noun = "mirror pod annotation" if key == _MIRROR else "AppArmor annotations"
        verb = "may not remove or update" if key in old else "may not add"
        found.append(field.forbidden(f"metadata.annotations[{key}]", f"{verb} {noun}"))
    return found
