"""Validate the environment of a container, and references to fields of the Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateEnv, validateObjectFieldSelector,
validateContainerResourceFieldSelector) and pkg/apis/core/pods (ConvertDownwardAPIFieldLabel)
"""

from collections.abc import Collection, Sequence

from control.api import field
from control.api.container import (
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    FileKeySelector,
    KeySelector,
    ResourceFieldRef,
)
from control.api.field import FieldError
from control.api.quantity import parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.context import PodContext
from control.api.validation.pods.paths import validate_no_backsteps

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
FILE_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_WITH_KEYS = ("metadata.annotations", "metadata.labels")
_FIELDS = {
    *ENV_FIELDS,
    *FILE_FIELDS,
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
}
_OLD_NAMES = {"spec.host": "spec.nodeName"}

_RESOURCES = tuple(
    f"{part}.{name}"
    for part in ("limits", "requests")
    for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS = {
    "cpu": (("1m", "1"), "1m and 1", "cpu"),
    "memory": (_BYTES, ", ".join(_BYTES), "memory"),
    "ephemeral-storage": (_BYTES, ", ".join(_BYTES), "local ephemeral storage"),
    "hugepages": (_BYTES, ", ".join(_BYTES), "hugepages"),
}
_ONE = "may not have more than one field specified at a time"
_SOURCES = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def validate_env(path: str, variables: Sequence[EnvVar], context: PodContext) -> list[FieldError]:
    """Check the variables of a container."""
    found = []
    for at, variable in enumerate(variables):
        own = f"{path}[{at}]"
        if not variable.name:
            found.append(field.required(f"{own}.name"))
        else:
            found += invalid_each(f"{own}.name", variable.name, text.env_name(variable.name))
        if variable.value_from is not None:
            found += _value_from(f"{own}.valueFrom", variable, context)
    return found


def _value_from(path: str, variable: EnvVar, context: PodContext) -> list[FieldError]:
    source = variable.value_from or EnvVarSource()
    found: list[FieldError] = []
    count = 0
    if source.field_ref is not None:
        count += 1
        ref = source.field_ref
        known = ref.api_version or "", ref.field_path, ENV_FIELDS
        found += validate_field_ref(f"{path}.fieldRef", *known)
    if source.resource_field_ref is not None:
        count += 1
        own = f"{path}.resourceFieldRef"
        found += validate_resource_ref(own, source.resource_field_ref, in_volume=False)
    if source.config_map_key_ref is not None:
        count += 1
        found += _key(f"{path}.configMapKeyRef", source.config_map_key_ref)
    if source.secret_key_ref is not None:
        count += 1
        found += _key(f"{path}.secretKeyRef", source.secret_key_ref)
    if source.file_key_ref is not None:
        count += 1
        found += _file(f"{path}.fileKeyRef", source.file_key_ref, context)
    if not count:
        found.append(field.invalid(path, "", f"must specify one of: {_SOURCES}"))
    elif variable.value:
        found.append(field.invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        found.append(field.invalid(path, "", _ONE))
    return found


def validate_field_ref(
    path: str, version: str, label: str, known: Collection[str]
) -> list[FieldError]:
    """Check a reference to a field of the Pod; ``known`` has the fields that may stand there."""
    if version == "v1" and label in known:
        return []
    if not version or not label:
        return [field.required(f"{path}.{'fieldPath' if version else 'apiVersion'}")]
    own = f"{path}.fieldPath"
    if version != "v1":
        why = f"error converting fieldPath: unsupported pod version: {version}"
        return [field.invalid(own, label, why)]
    base, opened, key = label.removesuffix("']").partition("['")
    if label.endswith("']") and opened and base:
        return _keyed(path, label, base, key)
    name = _OLD_NAMES.get(label, label)
    if name not in _FIELDS:
        why = f"error converting fieldPath: field label not supported: {label}"
        return [field.invalid(own, label, why)]
    return [] if name in known else [field.not_supported(own, name, known)]


def _keyed(path: str, label: str, base: str, key: str) -> list[FieldError]:
    if base not in _WITH_KEYS:
        why = f"error converting fieldPath: field label does not support subscript: {label}"
        return [field.invalid(f"{path}.fieldPath", label, why)]
    name = key.lower() if base == "metadata.annotations" else key
    return invalid_each(path, name, text.qualified_name(name))


def validate_resource_ref(path: str, ref: ResourceFieldRef, *, in_volume: bool) -> list[FieldError]:
    """Check a reference to a container's resource; a volume has to name the container."""
    found = []
    if in_volume and not ref.container_name:
        found.append(field.required(f"{path}.containerName"))
    elif not ref.resource:
        found.append(field.required(f"{path}.resource"))
    elif ref.resource not in _RESOURCES and not ref.resource.startswith(_HUGE_PAGES):
        found.append(field.not_supported(f"{path}.resource", ref.resource, _RESOURCES))
    return found + _divisor(f"{path}.divisor", ref)


def _divisor(path: str, ref: ResourceFieldRef) -> list[FieldError]:
    amount = parse(ref.divisor or 0)
    unit = ref.resource.partition(".")[2]
    name = "hugepages" if unit.startswith("hugepages-") else unit
    if not amount.nano or name not in _DIVISORS:
        return []
    allowed, listed, noun = _DIVISORS[name]
    if str(amount) in allowed:
        return []
    why = f"only divisor's values {listed} are supported with the {noun} resource"
    return [field.invalid(path, ref.resource, why)]


def _key(path: str, selector: KeySelector) -> list[FieldError]:
    found = invalid_each(f"{path}.name", selector.name, text.dns_subdomain(selector.name))
    if not selector.key:
        return [*found, field.required(f"{path}.key")]
    return found + invalid_each(f"{path}.key", selector.key, text.config_key(selector.key))


def _file(path: str, selector: FileKeySelector, context: PodContext) -> list[FieldError]:
    given = {"key": selector.key, "volumeName": selector.volume_name, "path": selector.path}
    found = [field.required(f"{path}.{name}") for name, value in given.items() if not value]
    if selector.key:
        found += invalid_each(f"{path}.key", selector.key, text.env_name(selector.key))
    found += validate_no_backsteps(f"{path}.path", selector.path)
    name = selector.volume_name
    if name and name not in context.volumes:
        found.append(field.not_found(f"{path}.volumeName", name))
    elif name and context.volumes[name].empty_dir is None:
        why = "referenced volume must be of type emptyDir"
        found.append(field.invalid(f"{path}.volumeName", name, why))
    return found


def validate_env_from(path: str, sources: Sequence[EnvFromSource]) -> list[FieldError]:
    """Check the ConfigMaps and Secrets whose keys become variables."""
    found: list[FieldError] = []
    for at, source in enumerate(sources):
        own = f"{path}[{at}]"
        if source.prefix:
            found += invalid_each(f"{own}.prefix", source.prefix, text.env_name(source.prefix))
        refs = {"configMapRef": source.config_map_ref, "secretRef": source.secret_ref}
        given = {name: ref for name, ref in refs.items() if ref is not None}
        for name, ref in given.items():
            if not ref.name:
                found.append(field.required(f"{own}.{name}.name"))
            else:
                found += invalid_each(f"{own}.{name}.name", ref.name, text.name_prefix(ref.name))
        if not given:
            why = "must specify one of: `configMapRef` or `secretRef`"
            found.append(field.invalid(path, "", why))
        elif len(given) > 1:
            found.append(field.invalid(path, "", _ONE))
    return found
