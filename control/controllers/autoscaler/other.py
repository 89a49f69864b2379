"""What metrics of Pods, of an object and from outside ask for. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go (computeStatusFor…Metric)
"""

from collections.abc import Callable
from typing import Any

from control.api.autoscaling import OtherMetric, ScaleTarget
from control.api.quantity import Quantity, parse
from control.controllers.autoscaler.answer import Answer, Failure
from control.controllers.autoscaler.reading import NO_CUSTOM, Reading, selector_text
from control.controllers.autoscaler.replicas import (
    MetricError,
    Proposal,
    Question,
    by_total,
    by_total_of_each,
    by_value,
)

_CUSTOM = "unable to fetch metrics from custom metrics API"
_EXTERNAL = "unable to fetch metrics from external metrics API"
NOTHING = Reading(error=f"{_CUSTOM}: {NO_CUSTOM}")
NOTHING_OUTSIDE = Reading(error=f"{_EXTERNAL}: the server could not find the requested resource")


def of_pods(spec: OtherMetric, question: Question, reading: Reading) -> Answer:
    """Return what a metric of each Pod asks for."""
    name = spec.metric.name
    try:
        _check(reading, f"unable to get metric {name}")
        proposal = by_value(question, dict(reading.pods), _milli(spec.target.average_value))
    except MetricError as err:
        return _failed("FailedGetPodsMetric", err, f"failed to get pods metric value: {err}")
    said = {"metric": _identifier(spec), "current": _average(proposal)}
    return proposal, f"pods metric {name}", {"type": "Pods", "pods": said}


def of_object(spec: OtherMetric, question: Question, reading: Reading, namespace: str) -> Answer:
    """Return what a metric of one object asks for."""
    target, name = spec.target, spec.metric.name
    about = spec.described_object or ScaleTarget()
    each = target.type == "AverageValue" and target.average_value is not None
    try:
        if not each and (target.type != "Value" or target.value is None):
            raise MetricError(
                "invalid object metric source: neither a value target nor an average value target"
                " was set"
            )
        if reading.error:
            where = f"{about.kind} {namespace}/{about.name}"
            raise MetricError(f"unable to get metric {name}: {reading.error} on {where}")
        proposal = _by_total(spec, question, reading, each=each)
    except MetricError as err:
        why = f"failed to get {name} object metric: {err}" if each else f"{err}"
        return _failed("FailedGetObjectMetric", err, f"failed to get object metric value: {why}")
    current = _average(proposal) if each else _total(proposal)
    said = {"describedObject": about.wire(), "metric": _identifier(spec), "current": current}
    title = f"{about.kind} metric {name}" if not each else _outside(spec)
    return proposal, title, {"type": "Object", "object": said}


def of_external(spec: OtherMetric, question: Question, reading: Reading, namespace: str) -> Answer:
    """Return what a metric from outside asks for."""
    name, target = spec.metric.name, spec.target
    each = target.average_value is not None
    prefix = (
        f"failed to get {name} external metric" if each else f"failed to get external metric {name}"
    )
    try:
        if not each and target.value is None:
            prefix = ""
            raise MetricError(
                "invalid external metric source: neither a value target nor an average value"
                " target was set"
            )
        where = f"{namespace}/{name}/{selector_text(spec.metric.selector)}"
        _check(reading, f"unable to get external metric {where}")
        proposal = _by_total(spec, question, reading, each=each)
    except MetricError as err:
        why = f"{prefix}: {err}" if prefix else f"{err}"
        summary = f"failed to get {name} external metric value: {why}"
        return _failed("FailedGetExternalMetric", err, summary)
    current = _average(proposal) if each else _total(proposal)
    said = {"metric": _identifier(spec), "current": current}
    return proposal, _outside(spec), {"type": "External", "external": said}


def _by_total(spec: OtherMetric, question: Question, reading: Reading, *, each: bool) -> Proposal:
    ask: Callable[[Question, int, int], Proposal] = by_total_of_each if each else by_total
    target = spec.target.average_value if each else spec.target.value
    return ask(question, reading.total, _milli(target))


def _check(reading: Reading, title: str) -> None:
    if reading.error:
        raise MetricError(f"{title}: {reading.error}")


def _failed(reason: str, err: MetricError, summary: str) -> Failure:
    return Failure(reason, str(err), summary)


def _milli(amount: str | int | float | None) -> int:
    return parse(amount).milli() if amount is not None else 0


def _outside(spec: OtherMetric) -> str:
    return f"external metric {spec.metric.name}({selector_text(spec.metric.selector)})"


def _identifier(spec: OtherMetric) -> dict[str, Any]:
    found: dict[str, Any] = {"name": spec.metric.name}
    return found | ({"selector": spec.metric.selector} if spec.metric.selector is not None else {})


def _average(proposal: Proposal) -> dict[str, Any]:
    return {"averageValue": _quantity(proposal)}


def _total(proposal: Proposal) -> dict[str, Any]:
    return {"value": _quantity(proposal)}


def _quantity(proposal: Proposal) -> str:
    return str(Quantity(proposal.raw * 10**6))
