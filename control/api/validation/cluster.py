"""Validate the small kinds: Node, ConfigMap, Secret, Event, Lease, PriorityClass. Pure."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence

import orjson

from control.api import field
from control.api.cluster import ConfigMap, Lease, Namespace, PriorityClass, Secret
from control.api.field import FieldError
from control.api.node import Node, Taint
from control.api.podsecurity import LEVELS
from control.api.quantity import QuantityError, parse
from control.api.validation import text
from control.api.validation.meta import immutable, invalid_each, validate_finalizer
from control.api.validation.pods.resources import validate_quantity
from control.api.validation.text import NOT_NEGATIVE

_DATA_MAX = 1024 * 1024
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]{0,3})")
_REDACTED = "<secret contents redacted>"
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105  # a type, not a secret
_JSON_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}
_BASIC = ("username", "password")
_ACCOUNT = "kubernetes.io/service-account.name"
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_BOTH_FAMILIES = ([False, True], [True, False])
SYSTEM_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
_USERS_HIGHEST = 1_000_000_000
_POLICIES = ("Never", "PreemptLowerPriority")
_LOCKED = "field is immutable when `immutable` is set"


def validate_new_namespace(namespace: Namespace) -> list[FieldError]:
    """Check the finalizers, and the labels that hold the namespace's Pods to a level."""
    found = []
    for name in namespace.spec.finalizers:
        found += validate_finalizer("spec.finalizers", name)
    return found + _pod_security(namespace.metadata.labels)


def validate_namespace_update(new: Namespace, old: Namespace) -> list[FieldError]:
    """Check those of the labels that have changed."""
    before = old.metadata.labels
    changed = {k: v for k, v in new.metadata.labels.items() if before.get(k) != v}
    return _pod_security(changed)


def _pod_security(labels: Mapping[str, str]) -> list[FieldError]:
    found = []
    for mode in ("enforce", "audit", "warn"):
        label = f"pod-security.kubernetes.io/{mode}"
        path, version = f"metadata.labels[{label}]", labels.get(f"{label}-version")
        if label in labels and labels[label] not in LEVELS:
            why = f"must be one of {', '.join(LEVELS)}"
            found.append(field.invalid(path, labels[label], why))
        if version is not None and not _VERSION.fullmatch(version):
            why = 'must be "latest" or "v1.x"'
            found.append(field.invalid(f"metadata.labels[{label}-version]", version, why))
    return found


def validate_config_map(config_map: ConfigMap) -> list[FieldError]:
    """Check the keys (valid file names, unique) and the size of a ConfigMap."""
    found = _keys("data", config_map.data)
    found += _keys("binaryData", config_map.binary_data)
    for key in config_map.data.keys() & config_map.binary_data.keys():
        found.append(field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    size = sum(len(value.encode()) for value in config_map.data.values())
    size += sum(map(_decoded_size, config_map.binary_data.values()))
    return [*found, field.too_long("", _DATA_MAX)] if size > _DATA_MAX else found


def validate_config_map_update(new: ConfigMap, old: ConfigMap) -> list[FieldError]:
    """Refuse changes of an immutable ConfigMap."""
    if not old.immutable:
        return []
    found = [] if new.immutable else [field.forbidden("immutable", _LOCKED)]
    if new.data != old.data:
        found.append(field.forbidden("data", _LOCKED))
    if new.binary_data != old.binary_data:
        found.append(field.forbidden("binaryData", _LOCKED))
    return found


def validate_secret(secret: Secret) -> list[FieldError]:
    """Check the keys (valid file names), the base64, the size and the type of a Secret."""
    found = _keys("data", secret.data)
    content: dict[str, bytes] = {}
    for key, value in secret.data.items():
        try:
            content[key] = base64.b64decode(value, validate=True)
        except binascii.Error:
            found.append(field.invalid(f"data[{key}]", "<omitted>", "illegal base64 data"))
    if sum(map(len, content.values())) > _DATA_MAX:
        found.append(field.too_long("data", _DATA_MAX))
    return found + ([] if found else _of_type(secret, content))


def _of_type(secret: Secret, content: Mapping[str, bytes]) -> list[FieldError]:
    """Check that a Secret has the keys of its type."""
    if secret.type == _TOKEN:
        named = secret.metadata.annotations.get(_ACCOUNT)
        return [] if named else [field.required(f"metadata.annotations[{_ACCOUNT}]")]
    if key := _JSON_KEYS.get(secret.type or ""):
        return _json(key, content)
    missing: list[str] = []
    match secret.type:
        case "kubernetes.io/basic-auth" if not content.keys() & {*_BASIC}:
            missing = [*_BASIC]
        case "kubernetes.io/ssh-auth" if not content.get("ssh-privatekey"):
            missing = ["ssh-privatekey"]
        case "kubernetes.io/tls":
            missing = [key for key in ("tls.crt", "tls.key") if key not in content]
    return [field.required(f"data[{key}]") for key in missing]


def _json(key: str, content: Mapping[str, bytes]) -> list[FieldError]:
    """Check that a key holds a JSON object; the error does not show it."""
    if key not in content:
        return [field.required(f"data[{key}]")]
    try:
        value = orjson.loads(content[key])
    except orjson.JSONDecodeError as err:
        why = "unexpected end of JSON input" if not content[key] else f"invalid JSON: {err.msg}"
        return [field.invalid(f"data[{key}]", _REDACTED, why)]
    if isinstance(value, dict | None):
        return []
    why = "json: cannot unmarshal into Go value of type map[string]interface {}"
    return [field.invalid(f"data[{key}]", _REDACTED, why)]


def validate_secret_update(new: Secret, old: Secret) -> list[FieldError]:
    """Refuse a change of the type, and changes of an immutable Secret."""
    found = immutable("type", new.type, old.type)
    if not old.immutable:
        return found
    if not new.immutable:
        found.append(field.forbidden("immutable", _LOCKED))
    if new.data != old.data:
        found.append(field.forbidden("data", _LOCKED))
    return found


def _keys(path: str, data: Mapping[str, str]) -> list[FieldError]:
    found = []
    for key in data:
        found += invalid_each(f"{path}[{key}]", key, text.config_key(key))
    return found


def _decoded_size(value: str) -> int:
    """Return the number of bytes that base64 holds."""
    return len(value) // 4 * 3 - value[-2:].count("=")


def validate_node(node: Node) -> list[FieldError]:
    """Check the Pod CIDRs, taints and amounts of a Node."""
    cidrs, found = node.spec.pod_cidrs, []
    for at, cidr in enumerate(cidrs):
        found += invalid_each(f"spec.podCIDRs[{at}]", cidr, text.cidr(cidr))
    if not found and len(cidrs) > 1 and [":" in cidr for cidr in cidrs] not in _BOTH_FAMILIES:
        why = "may specify no more than one CIDR for each IP family"
        found.append(field.invalid("spec.podCIDRs", cidrs, why))
    if cidrs and node.spec.pod_cidr != cidrs[0]:
        why = "must be equal to the first value of podCIDRs"
        found.append(field.invalid("spec.podCIDR", node.spec.pod_cidr, why))
    return found + _taints(node.spec.taints) + _amounts(node)


def _taints(taints: Sequence[Taint]) -> list[FieldError]:
    """Check taints; upstream's path of these errors is that of the metadata."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for at, taint in enumerate(taints):
        path = f"metadata.taints[{at}]"
        found += _taint(path, taint)
        if (taint.key, taint.effect) in seen:
            why = "taints must be unique by key and effect pair"
            found.append(field.FieldError(field.DUPLICATE, path, why, taint))
        seen.add((taint.key, taint.effect))
    return found


def _taint(path: str, taint: Taint) -> list[FieldError]:
    found = invalid_each(f"{path}.key", taint.key, text.qualified_name(taint.key))
    if messages := text.label_value(taint.value or ""):
        found.append(field.invalid(f"{path}.value", taint.value, ";".join(messages)))
    if not taint.effect:
        found.append(field.required(f"{path}.effect"))
    elif taint.effect not in _EFFECTS:
        found.append(field.not_supported(f"{path}.effect", taint.effect, _EFFECTS))
    return found


def _amounts(node: Node) -> list[FieldError]:
    """Check what a Node has: no amount is negative, and counted things are whole."""
    found: list[FieldError] = []
    parts = {"capacity": node.status.capacity, "allocatable": node.status.allocatable}
    for part, amounts in parts.items():
        for name, amount in amounts.items():
            path = f"status.{part}.{name}"
            try:
                found += validate_quantity(path, name, parse(amount))
            except QuantityError as err:
                found.append(field.invalid(path, amount, str(err)))
    return found


def validate_node_status(node: Node) -> list[FieldError]:
    """Check the amounts and the addresses of a Node; upstream does not look at new Nodes' ones."""
    found = _amounts(node)
    seen: set[tuple[str, str]] = set()
    for at, address in enumerate(node.status.addresses):
        if (address.type, address.address) in seen:
            found.append(field.duplicate(f"status.addresses[{at}]", address))
        seen.add((address.type, address.address))
    return found


def validate_node_update(new: Node, old: Node) -> list[FieldError]:
    """Refuse changes of a Node's Pod CIDRs, provider ID and external ID once they are set."""
    found = []
    if old.spec.pod_cidrs and new.spec.pod_cidrs != old.spec.pod_cidrs:
        why = "node updates may not change podCIDR except from [] to valid"
        found.append(field.forbidden("spec.podCIDRs", why))
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        why = 'node updates may not change providerID except from "" to valid'
        found.append(field.forbidden("spec.providerID", why))
    if (new.spec.external_id or "") != (old.spec.external_id or ""):
        found.append(field.forbidden("spec.externalID", "may not be updated"))
    return found


def validate_lease(lease: Lease) -> list[FieldError]:
    """Check the duration and the transitions of a Lease."""
    found = []
    duration, transitions = lease.spec.lease_duration_seconds, lease.spec.lease_transitions
    if duration is not None and duration <= 0:
        found.append(field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(field.invalid("spec.leaseTransitions", transitions, NOT_NEGATIVE))
    return found


def validate_priority_class(found: PriorityClass) -> list[FieldError]:
    """Check the value of a class: the high ones, and ``system-`` names, are the system's own."""
    errors, name = [], found.metadata.name
    if name.startswith("system-"):
        if why := _not_the_systems(found):
            text_ = "priority class names with 'system-' prefix are reserved for system use only."
            errors.append(field.forbidden("metadata.name", f"{text_} error: {why}"))
    elif found.value > _USERS_HIGHEST:
        why = f"maximum allowed value of a user defined priority is {_USERS_HIGHEST}"
        errors.append(field.forbidden("value", why))
    policy = found.preemption_policy
    if policy == "":
        errors.append(field.required("preemptionPolicy"))
    elif policy is not None and policy not in _POLICIES:
        errors.append(field.not_supported("preemptionPolicy", policy, _POLICIES))
    return errors


def _not_the_systems(found: PriorityClass) -> str:
    name = found.metadata.name
    if name not in SYSTEM_PRIORITIES:
        return f"{name} is not a known system priority class"
    if found.value != SYSTEM_PRIORITIES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_PRIORITIES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if found.global_default else ""


def validate_priority_class_update(new: PriorityClass, old: PriorityClass) -> list[FieldError]:
    """Refuse a changed value or policy: Pods keep the old one, and would not fit their class."""
    errors = []
    if new.value != old.value:
        errors.append(field.forbidden("value", "may not be changed in an update."))
    return errors + immutable("preemptionPolicy", new.preemption_policy, old.preemption_policy)
