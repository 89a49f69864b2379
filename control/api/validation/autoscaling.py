"""Validate HorizontalPodAutoscalers. Pure.

Source: k8s.io/kubernetes/pkg/apis/autoscaling/validation
"""

from collections.abc import Callable

from control.api import field
from control.api.autoscaling import (
    AutoscalerSpec,
    HorizontalPodAutoscaler,
    MetricSpec,
    MetricTarget,
    OtherMetric,
    ResourceMetric,
    ScaleTarget,
    ScalingRules,
)
from control.api.field import FieldError
from control.api.quantity import QuantityError, parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.resources import container_resource
from control.api.validation.text import NOT_NEGATIVE

_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800
_TARGETS = ("Utilization", "Value", "AverageValue")
_CHOICES = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_POSITIVE = "must be greater than 0"


def validate_autoscaler(autoscaler: HorizontalPodAutoscaler) -> list[FieldError]:
    """Check what is scaled, by what, how far and how fast.

    ``validate_new_autoscaler`` and ``validate_autoscaler_update`` check the rest: what was wrong
    before an update may stay.
    """
    spec = autoscaler.spec
    found = _numbers(spec) + _reference("spec.scaleTargetRef", spec.scale_target_ref)
    for at, metric in enumerate(spec.metrics):
        found += _metric(f"spec.metrics[{at}]", metric)
    behavior = spec.behavior
    if behavior is not None:
        found += _rules("spec.behavior.scaleUp", behavior.scale_up)
        found += _rules("spec.behavior.scaleDown", behavior.scale_down)
    return found


def validate_new_autoscaler(autoscaler: HorizontalPodAutoscaler) -> list[FieldError]:
    """Check the least number of Pods, and the versions of what is named."""
    return (
        _least(autoscaler.spec, 1) + _target_version(autoscaler.spec) + _versions(autoscaler.spec)
    )


def validate_autoscaler_update(
    new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler
) -> list[FieldError]:
    """Check the same of an autoscaler that had other values before."""
    found = _least(new.spec, 0 if old.spec.min_replicas == 0 else 1)
    now, before = new.spec.scale_target_ref, old.spec.scale_target_ref
    if (now.api_version, now.kind) != (before.api_version, before.kind):
        found += _target_version(new.spec)
    return found + ([] if _versions(old.spec) else _versions(new.spec))


def validate_autoscaler_status(autoscaler: HorizontalPodAutoscaler) -> list[FieldError]:
    """Check the numbers of a status."""
    status = autoscaler.status
    numbers = (
        ("currentReplicas", status.current_replicas or 0),
        ("desiredReplicas", status.desired_replicas),
    )
    return [field.invalid(f"status.{name}", it, NOT_NEGATIVE) for name, it in numbers if it < 0]


def _numbers(spec: AutoscalerSpec) -> list[FieldError]:
    found, least, most = [], spec.min_replicas, spec.max_replicas
    if most == 0:
        found.append(field.required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        found.append(field.invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        why = "must be greater than or equal to `minReplicas`"
        found.append(field.invalid("spec.maxReplicas", most, why))
    return found


def _least(spec: AutoscalerSpec, bound: int) -> list[FieldError]:
    """Check the least number: 0 needs upstream's gate HPAScaleToZero, which is off."""
    least, path = spec.min_replicas, "spec.minReplicas"
    found = []
    if least is not None and least < bound:
        found.append(field.invalid(path, least, f"must be greater than or equal to {bound}"))
    known = {metric.type for metric in spec.metrics}
    if least == 0 and not known & {"Object", "External"}:
        why = (
            "must specify at least one Object or External metric to support scaling to zero"
            " replicas"
        )
        found.append(field.forbidden("spec.metrics", why))
    return found


def _target_version(spec: AutoscalerSpec) -> list[FieldError]:
    ref = spec.scale_target_ref
    # The only kind of the core group that can be scaled.
    core = ref.kind == "ReplicationController"
    return _version("spec.scaleTargetRef.apiVersion", ref, core=core)


def _versions(spec: AutoscalerSpec) -> list[FieldError]:
    return [
        error
        for at, metric in enumerate(spec.metrics)
        if metric.object is not None and metric.object.described_object is not None
        for error in _version(
            f"spec.metrics[{at}].object.describedObject.apiVersion",
            metric.object.described_object,
            core=True,
        )
    ]


def _version(path: str, ref: ScaleTarget, *, core: bool) -> list[FieldError]:
    given = ref.api_version or ""
    if given.count("/") > 1:
        return [field.invalid(path, given, f"unexpected GroupVersion string: {given}")]
    if not core and not given.rpartition("/")[0]:
        return [field.invalid(path, given, "apiVersion must specify API group")]
    return []


def _reference(path: str, ref: ScaleTarget) -> list[FieldError]:
    found = []
    for name, value in (("kind", ref.kind), ("name", ref.name)):
        own = f"{path}.{name}"
        if not value:
            found.append(field.required(own))
        else:
            found += invalid_each(own, value, text.path_segment(value))
    return found


def _metric(path: str, spec: MetricSpec) -> list[FieldError]:
    found = []
    if not spec.type:
        found.append(field.required(f"{path}.type", "must specify a metric source type"))
    given = {name: getattr(spec, own) for name, (own, _) in _SOURCES.items()}
    present = [name for name, value in given.items() if value is not None]
    if present:
        name = present[0]
        found += _SOURCES[name][1](f"{path}.{name}", given[name])
    wanted = spec.type[:1].lower() + spec.type[1:]
    if wanted not in given:
        known = sorted(name[0].upper() + name[1:] for name in given)
        found.append(field.not_supported(f"{path}.type", spec.type, known))
    elif given[wanted] is None:
        why = "must populate information for the given metric source"
        found.append(field.required(f"{path}.{wanted}", why))
    why = "must populate the given metric source only"
    others = [name for name in present if name != wanted] if len(present) != 1 else []
    return found + [field.forbidden(f"{path}.{name}", why) for name in others]


def _object(path: str, source: OtherMetric) -> list[FieldError]:
    found = _reference(f"{path}.describedObject", source.described_object or ScaleTarget())
    found += _identified(path, source)
    target = source.target
    if target.value is None and target.average_value is None:
        why = "must set either a target value or averageValue"
        found.append(field.required(f"{path}.target.averageValue", why))
    return found


def _pods(path: str, source: OtherMetric) -> list[FieldError]:
    found = _identified(path, source)
    if source.target.average_value is None:
        why = "must specify a positive target averageValue"
        found.append(field.required(f"{path}.target.averageValue", why))
    return found


def _external(path: str, source: OtherMetric) -> list[FieldError]:
    found, target = _identified(path, source), source.target
    if target.value is None and target.average_value is None:
        why = "must set either a target value for metric or a per-pod target"
        found.append(field.required(f"{path}.target.averageValue", why))
    if target.value is not None and target.average_value is not None:
        why = "may not set both a target value for metric and a per-pod target"
        found.append(field.forbidden(f"{path}.target.value", why))
    return found


def _identified(path: str, source: OtherMetric) -> list[FieldError]:
    found = []
    if not source.metric.name:
        found.append(field.required(f"{path}.metric.name", "must specify a metric name"))
    name = source.metric.name
    found += invalid_each(f"{path}.metric.name", name, text.path_segment(name) if name else ())
    return found + _target(f"{path}.target", source.target)


def _resource(path: str, source: ResourceMetric) -> list[FieldError]:
    found, target = [], source.target
    if not source.name:
        found.append(field.required(f"{path}.name", "must specify a resource name"))
    found += _target(f"{path}.target", target)
    if target.average_utilization is None and target.average_value is None:
        why = "must set either a target raw value or a target utilization"
        found.append(field.required(f"{path}.target.averageUtilization", why))
    if target.average_utilization is not None and target.average_value is not None:
        why = "may not set both a target raw value and a target utilization"
        found.append(field.forbidden(f"{path}.target.averageValue", why))
    return found


def _container(path: str, source: ResourceMetric) -> list[FieldError]:
    found, container = _resource(path, source), source.container or ""
    if source.name:
        found += container_resource(f"{path}.name", source.name)
    if not container:
        found.append(field.required(f"{path}.container", "must specify a container"))
    else:
        found += invalid_each(f"{path}.container", container, text.dns_label(container))
    return found


_SOURCES: dict[str, tuple[str, Callable[..., list[FieldError]]]] = {
    "object": ("object", _object),
    "external": ("external", _external),
    "pods": ("pods", _pods),
    "resource": ("resource", _resource),
    "containerResource": ("container_resource", _container),
}


def _target(path: str, target: MetricTarget) -> list[FieldError]:
    found = []
    if not target.type:
        found.append(field.required(f"{path}.type", "must specify a metric target type"))
    if target.type not in _TARGETS:
        why = "must be either Utilization, Value, or AverageValue"
        found.append(field.invalid(f"{path}.type", target.type, why))
    for name, amount in (("value", target.value), ("averageValue", target.average_value)):
        if amount is not None and not _is_positive(amount):
            found.append(field.invalid(f"{path}.{name}", amount, "must be positive"))
    percent = target.average_utilization
    if percent is not None and percent < 1:
        found.append(field.invalid(f"{path}.averageUtilization", percent, _POSITIVE))
    return found


def _is_positive(amount: str | int | float | None) -> bool:
    try:
        return amount is not None and parse(amount).nano > 0
    except QuantityError:
        return False


def _rules(path: str, rules: ScalingRules | None) -> list[FieldError]:
    if rules is None:
        return []
    found = []
    window, own = rules.stabilization_window_seconds, f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        found.append(field.invalid(own, window, "must be greater than or equal to zero"))
    if window is not None and window > _LONGEST_WINDOW:
        why = f"must be less than or equal to {_LONGEST_WINDOW}"
        found.append(field.invalid(own, window, why))
    if rules.select_policy is not None and rules.select_policy not in _CHOICES:
        choice = f"{path}.selectPolicy"
        found.append(field.not_supported(choice, rules.select_policy, _CHOICES))
    if rules.tolerance is not None and parse(rules.tolerance).nano < 0:
        found.append(field.invalid(f"{path}.tolerance", rules.tolerance, NOT_NEGATIVE))
    return found + _policies(path, rules)


def _policies(path: str, rules: ScalingRules) -> list[FieldError]:
    if not rules.policies:
        return [field.required(f"{path}.policies", "must specify at least one Policy")]
    found = []
    for at, policy in enumerate(rules.policies):
        own = f"{path}.policies[{at}]"
        if policy.type not in _POLICIES:
            found.append(field.not_supported(f"{own}.type", policy.type, _POLICIES))
        for name, value in (("value", policy.value), ("periodSeconds", policy.period_seconds)):
            if value <= 0:
                found.append(field.invalid(f"{own}.{name}", value, "must be greater than zero"))
        if policy.period_seconds > _LONGEST_PERIOD:
            why = f"must be less than or equal to {_LONGEST_PERIOD}"
            found.append(field.invalid(f"{own}.periodSeconds", policy.period_seconds, why))
    return found
