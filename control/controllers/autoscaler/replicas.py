"""How many Pods a metric asks for. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/replica_calculator.go
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from control.api.pod import Pod
from control.api.quantity import parse
from control.api.times import seconds_of
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings
from control.controllers.pods import condition

_FULL = 100
_MOST = 2**31 - 1
_NO_PODS = "no pods returned by selector while calculating replica count"
_NO_METRICS = "did not receive metrics for targeted pods (pods might be unready)"


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
    """What is asked: of which resource (and container), for which Pods, how many are there.

    ``current`` is what the scale's spec says, ``present`` what its status says.
    """

    resource: str
    container: str
    pods: tuple[Pod, ...]
    current: int
    tolerance: Tolerance
    now: float
    present: int = 0
    settings: AutoscalerSettings = DEFAULT


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

    def average(found: Metrics) -> int:
        return sum(it.value for it in found.values()) // len(found)

    fallback = dict.fromkeys(groups.missing, target)
    count = _replicas(asked, groups, known, lambda it: average(it) / target, fallback)
    return Proposal(count, average(known))


def by_total(asked: Question, used: int, target: int) -> Proposal:
    """Return the proposal of a target of all Pods together; raises MetricError."""
    ratio = used / target
    if asked.current == 0:
        return Proposal(min(math.ceil(ratio), _MOST), used)
    if asked.tolerance.holds(ratio):
        return Proposal(asked.current, used)
    if not asked.pods:
        raise MetricError(f"unable to calculate ready pods: {_NO_PODS}")
    return Proposal(min(math.ceil(ratio * sum(map(_is_ready, asked.pods))), _MOST), used)


def by_total_of_each(asked: Question, used: int, target: int) -> Proposal:
    """Return the proposal of a target for each Pod, of which the total is known."""
    present = asked.present
    ratio = used / (target * present) if present else math.inf
    within = asked.tolerance.holds(ratio)
    count = present if within else min(math.ceil(used / target), _MOST)
    return Proposal(count, math.ceil(used / present) if present else 0)


def _is_ready(pod: Pod) -> bool:
    found = condition(pod.status.conditions, "Ready")
    return pod.status.phase == "Running" and found is not None and found.status == "True"


def _known(asked: Question, metrics: Metrics) -> tuple[_Groups, Metrics]:
    """Return the Pods in groups, and the metrics that count; raises MetricError."""
    if not asked.pods:
        raise MetricError(_NO_PODS)
    groups = _grouped(asked, metrics)
    left = groups.ignored | groups.unready
    known = {name: it for name, it in metrics.items() if name not in left}
    if not known:
        raise MetricError(_NO_METRICS)
    return groups, known


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
        elif asked.resource == "cpu" and _is_starting(pod, metrics[name], asked):
            unready.add(name)
        else:
            ready += 1
    return _Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Pod, metric: PodMetric, asked: Question) -> bool:
    """True if a Pod's CPU says nothing yet: it starts, or has never been ready."""
    found, started = condition(pod.status.conditions, "Ready"), seconds_of(pod.status.start_time)
    if found is None or started is None:
        return True
    since = seconds_of(found.last_transition_time) or 0.0
    settings = asked.settings
    if started + settings.cpu_starts > asked.now:
        return found.status == "False" or metric.at < since + metric.window
    return found.status == "False" and started + settings.first_ready > since


def _requests(asked: Question) -> dict[str, int]:
    """Return what each Pod requests, in thousandths; raises MetricError."""
    return {pod.metadata.name: _request(asked, pod) for pod in asked.pods}


def _request(asked: Question, pod: Pod) -> int:
    total, found = 0, False
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
        found = True
    if asked.container and not found:
        raise MetricError(f"container {asked.container} not found in Pod {pod.metadata.name}")
    return total
