"""How many Pods a resource metric asks for. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/replica_calculator.go
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from control.api.pod import Pod
from control.api.quantity import parse
from control.api.times import seconds_of
from control.controllers.pods import condition

# Upstream's --horizontal-pod-autoscaler-cpu-initialization-period and -initial-readiness-delay.
_CPU_STARTS, _FIRST_READY = 300.0, 30.0
_FULL = 100


class MetricError(Exception):
    """A metric says nothing; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class PodMetric:
    """What a Pod uses, in thousandths, at a time, over the seconds before it."""

    value: int
    at: float = 0.0
    window: float = 0.0


Metrics = dict[str, PodMetric]  # by the name of the Pod


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a ratio may be from 1 before something changes."""

    up: float = 0.1
    down: float = 0.1

    def holds(self, ratio: float) -> bool:
        """True if a ratio is near enough to 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Proposal:
    """The Pods that a metric asks for, and what it is: thousandths for a Pod, and percent."""

    replicas: int
    raw: int
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: of which resource (and container), for which Pods, how many are there."""

    resource: str
    container: str
    pods: tuple[Pod, ...]
    current: int
    tolerance: Tolerance
    now: float


@dataclass(frozen=True, slots=True)
class _Groups:
    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def by_utilization(asked: Question, metrics: Metrics, target: int) -> Proposal:
    """Return the proposal of a target in percent of what Pods request; raises MetricError."""
    groups, known = _known(asked, metrics)
    requests = _requests(asked)
    if not known:
        raise MetricError("did not receive metrics for any ready pods")

    def measure(found: Metrics) -> tuple[float, int, int]:
        pairs = [(it.value, requests[name]) for name, it in found.items() if name in requests]
        used, wanted = sum(it for it, _ in pairs), sum(it for _, it in pairs)
        if not wanted:
            raise MetricError("no metrics returned matched known pods")
        percent = used * _FULL // wanted
        return percent / target, percent, used // len(pairs)

    full = max(_FULL, target)
    fallback = {name: request * full // _FULL for name, request in requests.items()}
    _, percent, raw = measure(known)
    count = _replicas(asked, groups, known, lambda it: measure(it)[0], fallback)
    return Proposal(count, raw, percent)


def by_value(asked: Question, metrics: Metrics, target: int) -> Proposal:
    """Return the proposal of a target in thousandths for each Pod; raises MetricError."""
    groups, known = _known(asked, metrics)
    if not known:
        raise MetricError("did not receive metrics for any ready pods")

    def average(found: Metrics) -> int:
        return sum(it.value for it in found.values()) // len(found)

    fallback = dict.fromkeys(groups.missing, target)
    count = _replicas(asked, groups, known, lambda it: average(it) / target, fallback)
    return Proposal(count, average(known))


def _known(asked: Question, metrics: Metrics) -> tuple[_Groups, Metrics]:
    """Return the Pods in groups, and the metrics that count; raises MetricError."""
    if not asked.pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    groups = _grouped(asked, metrics)
    left = groups.ignored | groups.unready
    return groups, {name: it for name, it in metrics.items() if name not in left}


def _replicas(
    asked: Question,
    groups: _Groups,
    metrics: Metrics,
    measure: Callable[[Metrics], float],
    fallback: Mapping[str, int],
) -> int:
    """Return the Pods for a ratio of use; Pods without metrics count against a change."""
    ratio, current = measure(metrics), asked.current
    rising = bool(groups.unready) and ratio > 1.0
    if not rising and not groups.missing:
        return current if asked.tolerance.holds(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(metrics)
    if ratio < 1.0:
        filled |= {name: PodMetric(fallback.get(name, 0)) for name in groups.missing}
    elif ratio > 1.0:
        filled |= {name: PodMetric(0) for name in groups.missing}
    if rising:
        filled |= {name: PodMetric(0) for name in groups.unready}
    new = measure(filled)
    if asked.tolerance.holds(new) or ratio < 1.0 < new or new < 1.0 < ratio:
        return current
    count = math.ceil(new * len(filled))
    turned = count > current if new < 1.0 else count < current
    return current if turned else count


def _grouped(asked: Question, metrics: Metrics) -> _Groups:
    ready = 0
    unready, missing, ignored = set[str](), set[str](), set[str]()
    for pod in asked.pods:
        name, phase = pod.metadata.name, pod.status.phase
        if pod.metadata.deletion_timestamp is not None or phase == "Failed":
            ignored.add(name)
        elif phase == "Pending":
            unready.add(name)
        elif name not in metrics:
            missing.add(name)
        elif asked.resource == "cpu" and _is_starting(pod, metrics[name], asked.now):
            unready.add(name)
        else:
            ready += 1
    return _Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Pod, metric: PodMetric, now: float) -> bool:
    """True if a Pod's CPU says nothing yet: it starts, or has never been ready."""
    found, started = condition(pod.status.conditions, "Ready"), seconds_of(pod.status.start_time)
    if found is None or started is None:
        return True
    since = seconds_of(found.last_transition_time) or 0.0
    if started + _CPU_STARTS > now:
        return found.status == "False" or metric.at < since + metric.window
    return found.status == "False" and started + _FIRST_READY > since


def _requests(asked: Question) -> dict[str, int]:
    """Return what each Pod requests, in thousandths; raises MetricError."""
    return {pod.metadata.name: _request(asked, pod) for pod in asked.pods}


def _request(asked: Question, pod: Pod) -> int:
    total = 0
    sidecars = (it for it in pod.spec.init_containers if it.restart_policy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        if asked.container not in ("", container.name):
            continue
        resources = container.resources
        given = resources.requests.get(asked.resource) if resources else None
        if given is None:
            raise MetricError(
                f"missing request for {asked.resource} in container {container.name}"
                f" of Pod {pod.metadata.name}"
            )
        total += parse(given).milli()
    return total
