"""Validate PodTemplates, ReplicationControllers and RuntimeClasses. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation and pkg/apis/node/validation
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.placement import Toleration
from control.api.validation import text
from control.api.validation.meta import immutable, invalid_each, validate_labels
from control.api.validation.pods.placement import validate_tolerations
from control.api.validation.pods.pod import validate_template
from control.api.validation.pods.resources import validate_overhead
from control.api.validation.text import NOT_NEGATIVE
from control.api.workload import PodTemplateSpec

Wire = Mapping[str, Any]


def validate_pod_template(template: Object) -> list[FieldError]:
    """Check a PodTemplate."""
    return validate_template("template", PodTemplateSpec.parse(template.wire().get("template", {})))


def validate_replication_controller(controller: Object) -> list[FieldError]:
    """Check a ReplicationController."""
    spec = controller.wire().get("spec", {})
    found = _not_negative("spec", spec, ("minReadySeconds", "replicas"))
    selector = spec.get("selector", {})
    if not selector:
        found.append(field.required("spec.selector"))
    if "template" not in spec:
        return [*found, field.required("spec.template")]
    return found + _template(PodTemplateSpec.parse(spec["template"]), selector)


def _template(template: PodTemplateSpec, selector: Mapping[str, str]) -> list[FieldError]:
    path, labels, pods = "spec.template", template.metadata.labels, template.spec
    found = []
    if not selector.items() <= labels.items():
        why = "`selector` does not match template `labels`"
        found.append(field.invalid(f"{path}.metadata.labels", labels, why))
    found += validate_template(path, template)
    if pods.restart_policy != "Always":
        given = pods.restart_policy or ""
        found.append(field.not_supported(f"{path}.spec.restartPolicy", given, ["Always"]))
    if pods.active_deadline_seconds is not None:
        why = "activeDeadlineSeconds in ReplicationController is not Supported"
        found.append(field.forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return found


_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def validate_replication_status(controller: Object) -> list[FieldError]:
    """Check the numbers of a ReplicationController's status."""
    status = controller.wire().get("status", {})
    found = _not_negative("status", status, (*_COUNTS, "observedGeneration"))
    replicas, *parts = (status.get(name, 0) for name in _COUNTS)
    for name, part in zip(_COUNTS[1:], parts, strict=True):
        if part > replicas:
            why = "cannot be greater than status.replicas"
            found.append(field.invalid(f"status.{name}", part, why))
    _, ready, available = parts
    if available > ready:
        why = "cannot be greater than readyReplicas"
        found.append(field.invalid("status.availableReplicas", available, why))
    return found


def _not_negative(path: str, wire: Wire, names: Sequence[str]) -> list[FieldError]:
    return [
        field.invalid(f"{path}.{name}", wire[name], NOT_NEGATIVE)
        for name in names
        if wire.get(name, 0) < 0
    ]


def validate_runtime_class(the_class: Object) -> list[FieldError]:
    """Check a RuntimeClass."""
    wire = the_class.wire()
    handler, scheduling = wire.get("handler", ""), wire.get("scheduling", {})
    found = invalid_each("handler", handler, text.dns_label(handler))
    if "overhead" in wire:
        found += validate_overhead("overhead", wire["overhead"].get("podFixed", {}))
    found += validate_labels("scheduling.nodeSelector", scheduling.get("nodeSelector", {}))
    tolerations = [Toleration.parse(item) for item in scheduling.get("tolerations", ())]
    return found + validate_tolerations("scheduling.tolerations", tolerations)


def validate_runtime_class_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse another handler."""
    return immutable("handler", new.wire().get("handler", ""), old.wire().get("handler", ""))
