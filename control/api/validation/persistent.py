"""Validate volumes, claims on them and their classes. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePersistentVolume,
ValidatePersistentVolumeClaim) and pkg/apis/storage/validation.
"""

from collections.abc import Mapping, Sequence
from posixpath import normpath
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.persistent import (
    DELAYED,
    DELETE,
    OLD_CLASS,
    RECYCLE,
    RETAIN,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from control.api.placement import NodeSelector
from control.api.quantity import QuantityError, parse
from control.api.validation import text
from control.api.validation.claims import validate_claim_spec, validate_modes
from control.api.validation.meta import immutable, invalid_each
from control.api.validation.pods.affinity import validate_node_selector
from control.api.validation.pods.paths import validate_no_backsteps
from control.api.validation.pods.sources import validate_driver
from control.api.validation.pods.volume import validate_host_path

Wire = Mapping[str, Any]

_POLICIES = (DELETE, RECYCLE, RETAIN)
_CLASS_POLICIES = (DELETE, RETAIN)
_BINDING = ("Immediate", DELAYED)
_VOLUME_MODES = ("Block", "Filesystem")
# What a volume has besides its source.
_COMMON = {
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
}
_KEYS_MOST, _BYTES_MOST = 512, 256 * 1024
_ONE = "may not specify more than 1 volume type"


def validate_volume(volume: PersistentVolume) -> list[FieldError]:
    """Check a volume: its size, how it may be used, and that it has one source."""
    spec = volume.spec.wire()
    found = validate_modes("spec.accessModes", spec.get("accessModes", []))
    found += _capacity(spec.get("capacity", {}))
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _POLICIES:
        path = "spec.persistentVolumeReclaimPolicy"
        found.append(field.not_supported(path, policy, _POLICIES))
    found += _affinity(spec.get("nodeAffinity"))
    found += _sources(spec)
    if name := spec.get("storageClassName"):
        found += invalid_each("spec.storageClassName", name, text.dns_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        found.append(field.not_supported("spec.volumeMode", mode, _VOLUME_MODES))
    return found


def _capacity(capacity: Wire) -> list[FieldError]:
    if not capacity:
        return [field.required("spec.capacity")]
    if set(capacity) != {"storage"}:
        return [field.not_supported("spec.capacity", capacity, ["storage"])]
    path = "spec.capacity[storage]"
    try:
        size = parse(capacity["storage"])
    except QuantityError as err:
        return [field.invalid(path, capacity["storage"], str(err))]
    return [] if size.nano > 0 else [field.invalid(path, str(size), "must be greater than zero")]


def _affinity(affinity: Wire | None) -> list[FieldError]:
    if affinity is None:
        return []
    if "required" not in affinity:
        why = "must specify required node constraints"
        return [field.required("spec.nodeAffinity.required", why)]
    return validate_node_selector(
        "spec.nodeAffinity.required", NodeSelector.parse(affinity["required"])
    )


def _sources(spec: Wire) -> list[FieldError]:
    given = [name for name in spec if name not in _COMMON]
    if not given:
        return [field.required("spec", "must specify a volume type")]
    found = [field.forbidden(f"spec.{name}", _ONE) for name in given[1:]]
    if given[0] == "hostPath":
        found += validate_host_path("spec.hostPath", spec["hostPath"])
        root = normpath(spec["hostPath"].get("path") or ".") == "/"
        if root and spec.get("persistentVolumeReclaimPolicy") == RECYCLE:
            why = "may not be 'recycle' for a hostPath mount of '/'"
            found.append(field.forbidden("spec.persistentVolumeReclaimPolicy", why))
    if given[0] == "csi":
        found += validate_driver("spec.csi.driver", spec["csi"].get("driver") or "")
        if not spec["csi"].get("volumeHandle"):
            found.append(field.required("spec.csi.volumeHandle"))
    if given[0] == "local":
        found += _local(spec["local"])
        if "nodeAffinity" not in spec:
            found.append(field.required("spec.nodeAffinity", "Local volume requires node affinity"))
    return found


def _local(source: Wire) -> list[FieldError]:
    path = source.get("path", "")
    if not path:
        return [field.required("spec.local.path")]
    return validate_no_backsteps("spec.local.path", path)


def validate_volume_update(new: PersistentVolume, old: PersistentVolume) -> list[FieldError]:
    """Check that a volume's source, mode and nodes stay."""
    after, before = new.spec.wire(), old.spec.wire()
    found = []
    if _source_of(after) != _source_of(before):
        why = "spec.persistentvolumesource is immutable after creation"
        found.append(field.forbidden("spec.persistentvolumesource", why))
    found += immutable("volumeMode", after.get("volumeMode"), before.get("volumeMode"))
    if "nodeAffinity" in before:
        found += immutable("nodeAffinity", after.get("nodeAffinity"), before["nodeAffinity"])
    return found


def _source_of(spec: Wire) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in _COMMON}


def validate_claim(claim: PersistentVolumeClaim) -> list[FieldError]:
    """Check what a claim asks for."""
    return validate_claim_spec("spec", claim.spec.wire())


def validate_claim_update(
    new: PersistentVolumeClaim, old: PersistentVolumeClaim
) -> list[FieldError]:
    """Check that a claim stays as it is; its volume is set once, and its size may grow."""
    after, before = new.spec.wire(), old.spec.wire()
    found = []
    if not before.get("volumeName") and "volumeName" in after:
        before["volumeName"] = after["volumeName"]
    if not before.get("storageClassName") and OLD_CLASS in old.metadata.annotations:
        before["storageClassName"] = after.get("storageClassName")
    if "storageClassName" not in before and "storageClassName" in after:
        before["storageClassName"] = after["storageClassName"]  # RetroactiveDefaultStorageClass
    bound = new.status.phase == "Bound"
    for name in ("volumeAttributesClassName", *(("resources",) if bound else ())):
        for spec in (after, before):
            spec.pop(name, None)
    if after != before:
        why = (
            "spec is immutable after creation except resources.requests and"
            " volumeAttributesClassName for bound claims"
        )
        found.append(field.forbidden("spec", why))
    return found + _shrunk(new, old)


def _shrunk(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> list[FieldError]:
    held = old.status.capacity.get("storage", 0)
    if new.size < old.size and new.size <= parse(held):
        path, why = "spec.resources.requests.storage", "field can not be less than status.capacity"
        return [field.forbidden(path, why)]
    return []


def validate_class(made: StorageClass) -> list[FieldError]:
    """Check a class: who makes its volumes, what becomes of them, when they are bound."""
    found = []
    if not made.provisioner:
        found.append(field.required("provisioner"))
    else:
        wrong = text.qualified_name(made.provisioner.lower())
        found += invalid_each("provisioner", made.provisioner, wrong)
    found += _parameters(made.parameters)
    if made.reclaim_policy and made.reclaim_policy not in _CLASS_POLICIES:
        found.append(field.not_supported("reclaimPolicy", made.reclaim_policy, _CLASS_POLICIES))
    if made.volume_binding_mode is None:
        found.append(field.required("volumeBindingMode"))
    elif made.volume_binding_mode not in _BINDING:
        known = _BINDING
        found.append(field.not_supported("volumeBindingMode", made.volume_binding_mode, known))
    return found + _topologies(made.allowed_topologies)


def _topologies(terms: Sequence[Wire]) -> list[FieldError]:
    """Check where volumes may be; as upstream, a term without expressions counts as given twice."""
    found: list[FieldError] = []
    seen: set[frozenset[tuple[str, frozenset[str]]]] = {frozenset()}
    for at, term in enumerate(terms):
        path = f"allowedTopologies[{at}].matchLabelExpressions"
        values: dict[str, frozenset[str]] = {}
        for place, wanted in enumerate(term.get("matchLabelExpressions", ())):
            own, key = f"{path}[{place}]", wanted.get("key", "")
            found += _topology(own, key, wanted.get("values", ()))
            if key in values:
                found.append(field.duplicate(f"{own}.key", key))
            values[key] = frozenset(wanted.get("values", ()))
        region = frozenset(values.items())
        if region in seen:
            found.append(field.duplicate(path, ""))
        seen.add(region)
    return found


def _topology(path: str, key: str, values: Sequence[str]) -> list[FieldError]:
    found = [] if values else [field.required(f"{path}.values")]
    seen: set[str] = set()
    for at, value in enumerate(values):
        if value in seen:
            found.append(field.duplicate(f"{path}.values[{at}]", value))
        seen.add(value)
    return found + invalid_each(f"{path}.key", key, text.qualified_name(key))


def _parameters(given: Mapping[str, str]) -> Sequence[FieldError]:
    if len(given) > _KEYS_MOST:
        return [field.too_long("parameters", _KEYS_MOST)]
    found = [
        field.invalid("parameters", key, "field can not be empty.") for key in given if not key
    ]
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _BYTES_MOST:
        found.append(field.too_long("parameters", _BYTES_MOST))
    return found


def validate_class_update(new: StorageClass, old: StorageClass) -> list[FieldError]:
    """Check that all stays but the labels, annotations and whether volumes may grow."""
    found = [
        field.forbidden(name, f"updates to {name} are forbidden.")
        for name, changed in (
            ("parameters", new.parameters != old.parameters),
            ("provisioner", new.provisioner != old.provisioner),
            ("reclaimPolicy", new.reclaim_policy != old.reclaim_policy),
        )
        if changed
    ]
    return found + immutable("volumeBindingMode", new.volume_binding_mode, old.volume_binding_mode)
