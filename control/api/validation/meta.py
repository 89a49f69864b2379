"""Validate metadata: names, labels, annotations, owners and finalizers. Pure.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from control.api import field
from control.api.field import FieldError
from control.api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference
from control.api.validation import text
from control.api.validation.text import Check

IMMUTABLE = "field is immutable"
_ANNOTATIONS_MAX = 256 * 1024
# Finalizers from the time before a domain was required.
_OPPOSITE = {"orphan", "foregroundDeletion"}  # of what becomes of dependents
OLD_FINALIZERS = {"kubernetes", *_OPPOSITE}
_NO_OWNERS = {("v1", "Event")}
_URL_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_NO_URL_PATH = f"Invalid path (regex used for validation is '{_URL_PATH.pattern}')"
_VERSION = re.compile("([^/]*/)?[^/]+")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def invalid_each(path: str, value: object, messages: Iterable[str]) -> list[FieldError]:
    """Return an error for each message about a value."""
    return [field.invalid(path, value, message) for message in messages]


def immutable(path: str, new: object, old: object) -> list[FieldError]:
    """Return an error if a value has changed."""
    return [] if new == old else [field.invalid(path, new, IMMUTABLE)]


def validate_meta(
    meta: ObjectMeta, name: Check, *, namespaced: bool, custom: bool = False
) -> list[FieldError]:
    """Check the metadata of an object; ``name`` checks the names of its kind.

    Finalizers of ``custom`` kinds need no domain.
    """
    found = _name(meta, name)
    if namespaced:
        found += invalid_each(
            "metadata.namespace", meta.namespace, text.dns_label(meta.namespace or "")
        )
    found += validate_labels("metadata.labels", meta.labels)
    found += validate_annotations("metadata.annotations", meta.annotations)
    found += _owners(meta.owner_references)
    for at, finalizer in enumerate(meta.finalizers):
        wrong = text.qualified_name(finalizer)
        found += invalid_each("metadata.finalizers", finalizer, wrong)
        if not wrong and not custom:
            found += validate_finalizer(f"metadata.finalizers[{at}]", finalizer)
    if {*meta.finalizers} >= _OPPOSITE:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(field.invalid("metadata.finalizers", meta.finalizers, why))
    return found


def _name(meta: ObjectMeta, check: Check) -> list[FieldError]:
    found = []
    if meta.generate_name:
        # The generated name gets a suffix, so the prefix may end in a dash.
        messages = check(meta.generate_name.rstrip("-") or "-")
        found += invalid_each("metadata.generateName", meta.generate_name, messages)
    if not meta.name:
        return [*found, field.required("metadata.name", "name or generateName is required")]
    return found + invalid_each("metadata.name", meta.name, check(meta.name))


def validate_labels(path: str, labels: Mapping[str, str]) -> list[FieldError]:
    """Check label keys (qualified names) and label values."""
    found = []
    for key, value in labels.items():
        found += invalid_each(path, key, text.qualified_name(key))
        found += invalid_each(path, value, text.label_value(value))
    return found


def validate_annotations(path: str, annotations: Mapping[str, str]) -> list[FieldError]:
    """Check annotation keys (qualified names in any case) and the size of all of them."""
    found = []
    for key in annotations:
        found += invalid_each(path, key, text.qualified_name(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    return [*found, field.too_long(path, _ANNOTATIONS_MAX)] if size > _ANNOTATIONS_MAX else found


_EMPTY = {"apiVersion": "version must not be empty"}


def _owners(owners: Sequence[OwnerReference]) -> list[FieldError]:
    found = []
    for owner in owners:
        path = "metadata.ownerReferences"  # upstream does not say which
        given = {
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "uid": owner.uid,
        }
        found += [
            field.invalid(f"{path}.{name}", value, _EMPTY.get(name, "must not be empty"))
            for name, value in given.items()
            if not value
        ]
        if owner.api_version and not _VERSION.fullmatch(owner.api_version):
            why = "version must not be empty"
            found.append(field.invalid(f"{path}.apiVersion", owner.api_version, why))
        if (owner.api_version, owner.kind) in _NO_OWNERS:
            why = f"/{owner.api_version}, Kind={owner.kind} is disallowed from being an owner"
            found.append(field.invalid(path, owner, why))
    controllers = [owner.name for owner in owners if owner.controller]
    if len(controllers) > 1:
        why = (
            'Only one reference can have Controller set to true. Found "true" in references for'
            f" {controllers[0]} and {controllers[1]}"
        )
        found.append(field.invalid("metadata.ownerReferences", list(owners), why))
    return found


def validate_finalizer(path: str, name: str) -> list[FieldError]:
    """Check the name of a finalizer: qualified, or one of the old ones."""
    found = invalid_each(path, name, text.qualified_name(name))
    if not found and "/" not in name and name not in OLD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        found.append(field.invalid(path, name, why))
    return found


def validate_meta_update(new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    """Refuse new finalizers for an object that is being deleted."""
    if not old.deletion_timestamp:
        return []
    added = [name for name in new.finalizers if name not in old.finalizers]
    if not added:
        return []
    why = (
        "no new finalizers can be added if the object is being deleted, found new finalizers"
        f" {field.show(added)}"
    )
    return [field.forbidden("metadata.finalizers", why)]


def domain_path(path: str, name: str) -> list[FieldError]:
    """Check the name of a controller: a domain, then a path, such as ``acme.io/foo``."""
    domain, _, rest = name.partition("/")
    if not name:
        return [field.required(path)]
    if not (domain and rest):
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [field.invalid(path, name, why)]
    found = invalid_each(path, domain, text.dns_subdomain(domain))
    if not _URL_PATH.fullmatch(rest):
        found.append(field.invalid(path, rest, _NO_URL_PATH))
    return found


def validate_selector(path: str, selector: LabelSelector) -> list[FieldError]:
    """Check a workload's label selector."""
    found = validate_labels(f"{path}.matchLabels", selector.match_labels)
    for at, expression in enumerate(selector.match_expressions):
        found += _expression(f"{path}.matchExpressions[{at}]", expression)
    return found


def _expression(path: str, expression: LabelSelectorRequirement) -> list[FieldError]:
    found = []
    match expression.operator:
        case "In" | "NotIn":
            if not expression.values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(field.required(f"{path}.values", why))
        case "Exists" | "DoesNotExist":
            if expression.values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(field.forbidden(f"{path}.values", why))
        case _:
            found.append(
                field.invalid(
                    f"{path}.operator", expression.operator, "not a valid selector operator"
                )
            )
    found += invalid_each(f"{path}.key", expression.key, text.qualified_name(expression.key))
    for at, value in enumerate(expression.values):
        found += invalid_each(f"{path}.values[{at}]", value, text.label_value(value))
    return found
