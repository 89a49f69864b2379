"""``autoscaling/v1``: autoscalers of ``autoscaling/v2`` with one target, of CPU.

What v1 has no field for is in annotations, so that a client of v1 that writes back what it has read
loses nothing. Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go
"""

from collections.abc import Mapping
from typing import Any

import orjson

from control.api.forms.metric import keep_metric, keep_status, show_metric, show_status
from control.api.types.conform import conform_message
from control.api.types.scalars import WrongTypeError

Wire = dict[str, Any]
_DOMAIN = "autoscaling.alpha.kubernetes.io"
_METRICS, _CURRENT = f"{_DOMAIN}/metrics", f"{_DOMAIN}/current-metrics"
_CONDITIONS, _BEHAVIOR = f"{_DOMAIN}/conditions", f"{_DOMAIN}/behavior"
_TOLERANCES = (f"{_DOMAIN}/scale-down-tolerance", f"{_DOMAIN}/scale-up-tolerance")
_ALL = {_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR, *_TOLERANCES}
_CONDITION = ("type", "status", "lastTransitionTime", "reason", "message")
# Upstream writes its internal type here, whose fields have their names in Go.
_RULES = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")
_POLICY = ("type", "value", "periodSeconds")
_LOWERED = {name.lower(): name for name in ("scaleUp", "scaleDown", *_RULES, *_POLICY)}


def show(wire: Mapping[str, Any]) -> Wire:
    """Return a stored autoscaler as v1 shows it."""
    spec, status = dict(wire.get("spec") or {}), dict(wire.get("status") or {})
    metrics, behavior = spec.pop("metrics", None) or [], spec.pop("behavior", None)
    current, conditions = (status.pop(name, None) for name in ("currentMetrics", "conditions"))
    targets = [each for each in metrics if _is_target(each)]
    others = [show_metric(each) for each in metrics if not _is_target(each)]
    if targets:
        spec["targetCPUUtilizationPercentage"] = targets[0]["resource"]["target"][
            "averageUtilization"
        ]
    if (used := _used(current or [])) is not None:
        status["currentCPUUtilizationPercentage"] = used
    said = {
        _METRICS: others,
        _CURRENT: [show_status(each) for each in current or []],
        _BEHAVIOR: _in_go(behavior) if behavior else None,
        _CONDITIONS: [{n: each[n] for n in _CONDITION if n in each} for each in conditions or []],
    }
    annotations = _plain(wire) | {name: _text(each) for name, each in said.items() if each}
    made = _annotated(wire, annotations) | {"spec": spec, "status": status}
    return made | {"apiVersion": "autoscaling/v1"}


def keep(wire: Mapping[str, Any]) -> Wire:
    """Return an autoscaler of v1 as v2, with what its annotations say."""
    spec, status = dict(wire.get("spec") or {}), dict(wire.get("status") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    used = status.pop("currentCPUUtilizationPercentage", None)
    metrics = [keep_metric(each) for each in _list(wire, _METRICS, "autoscaling.MetricSpec") or []]
    if target is not None:
        metrics.append(_of_cpu({"target": {"type": "Utilization", "averageUtilization": target}}))
    if metrics:
        spec["metrics"] = metrics
    if behavior := _behavior(wire):
        spec["behavior"] = behavior
    current = _list(wire, _CURRENT, "autoscaling.MetricStatus")
    if current is not None:
        status["currentMetrics"] = [keep_status(each) for each in current]
    elif used is not None:
        status["currentMetrics"] = [_of_cpu({"current": {"averageUtilization": used}})]
    condition = "autoscaling.HorizontalPodAutoscalerCondition"
    if (conditions := _list(wire, _CONDITIONS, condition)) is not None:
        status["conditions"] = conditions
    made = _annotated(wire, _plain(wire)) | {"spec": spec, "status": status}
    return made | {"apiVersion": "autoscaling/v2"}


def _is_target(metric: Mapping[str, Any]) -> bool:
    """True for the metric that v1 has a field for."""
    resource = metric.get("resource") or {}
    target = resource.get("target") or {}
    is_cpu = (metric.get("type"), resource.get("name")) == ("Resource", "cpu")
    return is_cpu and target.get("averageUtilization") is not None


def _used(current: list[Wire]) -> int | None:
    """Return how much of the CPU that Pods request they use, in percent."""
    found = None
    for each in current:
        resource = each.get("resource") or {}
        used = (resource.get("current") or {}).get("averageUtilization")
        if each.get("type") == "Resource" and resource.get("name") == "cpu" and used is not None:
            found = used
    return found


def _of_cpu(said: Wire) -> Wire:
    return {"type": "Resource", "resource": {"name": "cpu"} | said}


def _annotations(wire: Mapping[str, Any]) -> Mapping[str, str]:
    return (wire.get("metadata") or {}).get("annotations") or {}


def _plain(wire: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations without those of this conversion."""
    return {name: text for name, text in _annotations(wire).items() if name not in _ALL}


def _annotated(wire: Mapping[str, Any], annotations: Mapping[str, str]) -> Wire:
    given = wire.get("metadata") or {}
    metadata = {name: each for name, each in given.items() if name != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return dict(wire) | {"metadata": metadata}


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _said(wire: Mapping[str, Any], name: str) -> Any:
    """Return the value of an annotation; None if it is not there or no JSON, as upstream."""
    try:
        return orjson.loads(_annotations(wire).get(name) or "null")
    except orjson.JSONDecodeError:
        return None


def _list(wire: Mapping[str, Any], name: str, message: str) -> list[Wire] | None:
    """Return the list in an annotation; None if it is malformed, as upstream."""
    given = _said(wire, name)
    if not isinstance(given, list):
        return None
    try:
        return [conform_message(message, each)[0] for each in given]
    except WrongTypeError:
        return None


def _behavior(wire: Mapping[str, Any]) -> Wire | None:
    given = _said(wire, _BEHAVIOR)
    if not isinstance(given, dict):
        return None
    try:
        found, _ = conform_message("autoscalingv2.HorizontalPodAutoscalerBehavior", _from_go(given))
    except WrongTypeError:
        return None
    return found


def _in_go(behavior: Wire) -> Wire:
    """Return a behavior with the names that its fields have in Go."""
    return {
        "ScaleUp": _rules_in_go(behavior.get("scaleUp")),
        "ScaleDown": _rules_in_go(behavior.get("scaleDown")),
    }


def _rules_in_go(rules: Wire | None) -> Wire | None:
    if rules is None:
        return None
    found = {name[0].upper() + name[1:]: rules.get(name) for name in _RULES}
    found["Policies"] = [
        {name[0].upper() + name[1:]: each.get(name) for name in _POLICY}
        for each in rules.get("policies") or ()
    ]
    return found


def _from_go(value: Any) -> Any:
    """Return a behavior with the names of JSON; Go reads names in any case."""
    if isinstance(value, list):
        return [_from_go(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {_LOWERED.get(name.lower(), name): each for name, each in value.items()}
    return {name: _from_go(each) for name, each in named.items() if each is not None}
