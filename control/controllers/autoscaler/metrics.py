"""What all metrics of an autoscaler ask for together. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go (computeReplicasForMetrics)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from control.api.autoscaling import MetricSpec, OtherMetric, ResourceMetric
from control.api.measured import PodMetrics
from control.api.quantity import Quantity, parse
from control.api.times import seconds_of
from control.controllers.autoscaler.replicas import (
    MetricError,
    Metrics,
    PodMetric,
    Proposal,
    Question,
    by_utilization,
    by_value,
)

_NO_CUSTOM = (
    "unable to fetch metrics from custom metrics API: no custom metrics API"
    " (custom.metrics.k8s.io) registered"
)
_NO_EXTERNAL = (
    "unable to fetch metrics from external metrics API: the server could not find the requested"
    " resource"
)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the server says Pods use; ``error`` says why it says nothing."""

    pods: tuple[PodMetrics, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A metric that says nothing: the reason and message of its Event, and what they led to."""

    reason: str
    message: str
    summary: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The most that any metric asks for, and its name; 0 if none says anything."""

    replicas: int = 0
    name: str = ""
    statuses: tuple[dict[str, Any], ...] = ()
    failures: tuple[Failure, ...] = field(default=())


def asked(specs: Iterable[MetricSpec], question: Question, found: Measurements) -> Asked:
    """Return what the metrics ask for."""
    result = Asked()
    for spec in specs:
        answer = _answer(spec, question, found)
        if isinstance(answer, Failure):
            result = replace(result, failures=(*result.failures, answer))
            continue
        proposal, name, status = answer
        if proposal.replicas > result.replicas or not result.replicas:
            result = replace(result, replicas=proposal.replicas, name=name)
        result = replace(result, statuses=(*result.statuses, status))
    return result


Answer = tuple[Proposal, str, dict[str, Any]] | Failure


def _answer(spec: MetricSpec, question: Question, found: Measurements) -> Answer:
    if spec.type == "Resource" and spec.resource is not None:
        return _of_resource(spec.resource, question, found)
    if spec.type == "ContainerResource" and spec.container_resource is not None:
        return _of_resource(spec.container_resource, question, found)
    if spec.type == "Pods" and spec.pods is not None:
        return _failed(
            "Pods", "pods", f"unable to get metric {spec.pods.metric.name}: {_NO_CUSTOM}"
        )
    if spec.type == "Object" and spec.object is not None:
        why = f"unable to get metric {spec.object.metric.name}: {_NO_CUSTOM}"
        return _failed("Object", "object", why)
    if spec.type == "External" and spec.external is not None:
        return _external(spec.external)
    why = f'unknown metric source type "{spec.type}"'
    return Failure("InvalidMetricSourceType", why, why)


def _failed(of: str, noun: str, why: str) -> Failure:
    return Failure(f"FailedGet{of}Metric", why, f"failed to get {noun} metric value: {why}")


def _external(spec: OtherMetric) -> Failure:
    name = spec.metric.name
    why = f"unable to get external metric {name}: {_NO_EXTERNAL}"
    return Failure(
        "FailedGetExternalMetric", why, f"failed to get {name} external metric value: {why}"
    )


def _of_resource(spec: ResourceMetric, question: Question, found: Measurements) -> Answer:
    container = spec.container or ""
    question = replace(question, resource=spec.name, container=container)
    noun = "container resource" if container else "resource"
    try:
        proposal, how = _proposed(spec, question, found)
    except MetricError as err:
        why = f"failed to get {spec.name} utilization: {err}"
        summary = f"failed to get {spec.name} {noun} metric value: {why}"
        reason = "FailedGetContainerResourceMetric" if container else "FailedGetResourceMetric"
        return Failure(reason, why, summary)
    status = {"name": spec.name, "current": _current(proposal)}
    if container:
        said = {"type": "ContainerResource", "containerResource": status | {"container": container}}
    else:
        said = {"type": "Resource", "resource": status}
    return proposal, f"{spec.name} {noun}{how}", said


def _proposed(
    spec: ResourceMetric, question: Question, found: Measurements
) -> tuple[Proposal, str]:
    target = spec.target
    if target.average_value is None and target.average_utilization is None:
        raise MetricError(
            "invalid resource metric source: neither an average utilization target nor an average"
            " value (usage) target was set"
        )
    metrics = _metrics(spec.name, question.container, found)
    if target.average_value is not None:
        return by_value(question, metrics, parse(target.average_value).milli()), ""
    percent = target.average_utilization or 0
    how = " utilization (percentage of request)"
    return by_utilization(question, metrics, percent), how


def _current(proposal: Proposal) -> dict[str, Any]:
    value: dict[str, Any] = {"averageValue": str(Quantity(proposal.raw * 10**6))}
    if proposal.percent is not None:
        value["averageUtilization"] = proposal.percent
    return value


def _metrics(resource: str, container: str, found: Measurements) -> Metrics:
    """Return what Pods use of a resource; raises MetricError."""
    start = f"unable to get metrics for resource {resource}"
    if found.error:
        raise MetricError(
            f"{start}: unable to fetch metrics from resource metrics API: {found.error}"
        )
    if not found.pods:
        raise MetricError(f"{start}: no metrics returned from resource metrics API")
    made = {pod.metadata.name: _metric(pod, resource, container) for pod in found.pods}
    return {name: metric for name, metric in made.items() if metric is not None}


def _metric(pod: PodMetrics, resource: str, container: str) -> PodMetric | None:
    parts = [it for it in pod.containers if container in ("", it.name)]
    if not parts or any(resource not in it.usage for it in parts):
        return None
    value = sum(parse(it.usage[resource]).milli() for it in parts)
    return PodMetric(value, seconds_of(pod.timestamp) or 0.0, _seconds(pod.window or ""))


def _seconds(window: str) -> float:
    """Read a Go duration of hours, minutes and seconds; 0 for anything else."""
    total, rest = 0.0, window
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        number, found, after = rest.partition(unit)
        if found and _is_number(number):
            total, rest = total + float(number) * size, after
    return total


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
