"""What all metrics of an autoscaler ask for together. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go (computeReplicasForMetrics)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from control.api.autoscaling import MetricSpec, ResourceMetric
from control.api.measured import PodMetrics
from control.api.quantity import Quantity, parse
from control.api.times import seconds_of
from control.controllers.autoscaler import other
from control.controllers.autoscaler.answer import Answer, Failure
from control.controllers.autoscaler.reading import Reading
from control.controllers.autoscaler.replicas import (
    MetricError,
    Metrics,
    PodMetric,
    Proposal,
    Question,
    by_utilization,
    by_value,
)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the server says Pods use; ``error`` says why it says nothing.

    ``readings`` has the other metrics, by their place in the spec.
    """

    pods: tuple[PodMetrics, ...] = ()
    error: str = ""
    readings: Mapping[int, Reading] = field(default_factory=dict)
    namespace: str = ""


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
    for at, spec in enumerate(specs):
        answer = _answer(spec, question, found, found.readings.get(at))
        if isinstance(answer, Failure):
            result = replace(result, failures=(*result.failures, answer))
            continue
        proposal, name, status = answer
        if proposal.replicas > result.replicas or not result.replicas:
            result = replace(result, replicas=proposal.replicas, name=name)
        result = replace(result, statuses=(*result.statuses, status))
    return result


def _answer(
    spec: MetricSpec, question: Question, found: Measurements, reading: Reading | None
) -> Answer:
    if spec.type == "Resource" and spec.resource is not None:
        return _of_resource(spec.resource, question, found)
    if spec.type == "ContainerResource" and spec.container_resource is not None:
        return _of_resource(spec.container_resource, question, found)
    if spec.type == "Pods" and spec.pods is not None:
        return other.of_pods(spec.pods, question, reading or other.NOTHING)
    if spec.type == "Object" and spec.object is not None:
        return other.of_object(spec.object, question, reading or other.NOTHING, found.namespace)
    if spec.type == "External" and spec.external is not None:
        known = reading or other.NOTHING_OUTSIDE
        return other.of_external(spec.external, question, known, found.namespace)
    why = f'unknown metric source type "{spec.type}"'
    return Failure("InvalidMetricSourceType", why, why)


def _of_resource(spec: ResourceMetric, question: Question, found: Measurements) -> Answer:
    container = spec.container or ""
    question = replace(question, resource=spec.name, container=container)
    try:
        proposal, how = _proposed(spec, question, found)
    except MetricError as err:
        of, reason = f"{spec.name} resource", "FailedGetResourceMetric"
        if container:
            of, reason = f"{container} container", "FailedGetContainerResourceMetric"
        return Failure(reason, str(err), f"failed to get {of} metric value: {err}")
    status = {"name": spec.name, "current": _current(spec.name, proposal)}
    if container:
        said = {"type": "ContainerResource", "containerResource": status | {"container": container}}
    else:
        said = {"type": "Resource", "resource": status}
    return proposal, f"{spec.name} {how}", said


def _proposed(
    spec: ResourceMetric, question: Question, found: Measurements
) -> tuple[Proposal, str]:
    """Return the proposal, and what is proposed by; raises MetricError."""
    target, name = spec.target, spec.name
    if target.average_value is None and target.average_utilization is None:
        raise MetricError(
            "invalid resource metric source: neither an average utilization target nor an average"
            " value (usage) target was set"
        )
    try:
        metrics = _metrics(name, question.container, found)
        if target.average_value is not None:
            return by_value(question, metrics, parse(target.average_value).milli()), "resource"
        proposal = by_utilization(question, metrics, target.average_utilization or 0)
    except MetricError as err:
        what = "usage" if target.average_value is not None else "utilization"
        raise MetricError(f"failed to get {name} {what}: {err}") from err
    noun = "container resource" if question.container else "resource"
    return proposal, f"{noun} utilization (percentage of request)"


def _current(resource: str, proposal: Proposal) -> dict[str, Any]:
    amount = Quantity(proposal.raw * 10**6, "binary" if resource == "memory" else "decimal")
    value: dict[str, Any] = {"averageValue": str(amount)}
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
