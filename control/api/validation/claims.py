"""Validate what claims of volumes ask for, those of ephemeral volumes too. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePersistentVolumeClaimSpec,
ValidateTemplateObjectMeta)
"""

from collections.abc import Mapping
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import LabelSelector
from control.api.quantity import parse
from control.api.validation import text
from control.api.validation.meta import (
    invalid_each,
    validate_annotations,
    validate_labels,
    validate_selector,
)

Wire = Mapping[str, Any]

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_ALONE = "ReadWriteOncePod"
_OF_TEMPLATES = {"annotations", "labels"}


def validate_claim_template(path: str, template: Wire) -> list[FieldError]:
    """Check a claim that is made with a Pod: labels, annotations and a spec, no more."""
    metadata = template.get("metadata", {})
    found = validate_annotations(f"{path}.metadata.annotations", metadata.get("annotations", {}))
    found += validate_labels(f"{path}.metadata.labels", metadata.get("labels", {}))
    for name in sorted(metadata.keys() - _OF_TEMPLATES):
        if metadata[name]:
            found.append(field.forbidden(f"{path}.metadata.{name}", "cannot be set"))
    return found + validate_claim_spec(f"{path}.spec", template.get("spec", {}))


def validate_claim_spec(path: str, spec: Wire) -> list[FieldError]:
    """Check the spec of a PersistentVolumeClaim."""
    modes = spec.get("accessModes", ())
    found = validate_modes(f"{path}.accessModes", modes)
    if "selector" in spec:
        found += validate_selector(f"{path}.selector", LabelSelector.parse(spec["selector"]))
    storage = spec.get("resources", {}).get("requests", {}).get("storage")
    own = f"{path}.resources[storage]"
    if storage is None:
        found.append(field.required(own))
    elif parse(storage).nano <= 0:
        found.append(field.invalid(own, str(parse(storage)), "must be greater than zero"))
    found += _sources(path, spec)
    for name in ("storageClassName", "volumeAttributesClassName"):
        if value := spec.get(name):
            found += invalid_each(f"{path}.{name}", value, text.dns_subdomain(value))
    if (mode := spec.get("volumeMode")) not in (None, *_VOLUME_MODES):
        found.append(field.not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES))
    return found


def _sources(path: str, spec: Wire) -> list[FieldError]:
    """Check where a claim's content comes from."""
    found = []
    for name in ("dataSource", "dataSourceRef"):
        if (source := spec.get(name)) is not None:
            found += _source(f"{path}.{name}", source)
    one, other = spec.get("dataSource"), spec.get("dataSourceRef")
    if one is None or other is None or other == one:
        return found
    if other.get("namespace"):
        why = "may not be specified when dataSourceRef.namespace is specified"
    else:
        why = "must match dataSourceRef"
    return [*found, field.invalid(f"{path}.dataSource", one, why)]


def _source(path: str, source: Wire) -> list[FieldError]:
    found = [field.required(f"{path}.{name}") for name in ("name", "kind") if not source.get(name)]
    group, kind = source.get("apiGroup"), source.get("kind", "")
    if group:
        found += invalid_each(f"{path}.apiGroup", group, text.dns_subdomain(group))
    elif kind != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(field.invalid(path, kind, why))
    if namespace := source.get("namespace"):
        found += invalid_each(f"{path}.namespace", namespace, text.dns_label(namespace))
    return found


def validate_modes(path: str, modes: list[str]) -> list[FieldError]:
    """Check the access modes of a volume or a claim."""
    if not modes:
        return [field.required(path, "at least 1 access mode is required")]
    found = [field.not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if _ALONE in modes and any(mode in _MODES and mode != _ALONE for mode in modes):
        why = "may not use ReadWriteOncePod with other access modes"
        found.append(field.forbidden(path, why))
    return found
