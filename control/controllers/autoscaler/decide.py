"""What follows of an autoscaler's scale and metrics: a number, conditions, Events. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from control.api.autoscaling import AutoscalerStatus, HorizontalPodAutoscaler
from control.api.meta import Condition
from control.api.pod import Pod
from control.api.policy import with_condition
from control.api.quantity import parse
from control.api.selectors import Labels, SelectorError, parse_labels
from control.api.times import rfc3339
from control.controllers.autoscaler.metrics import Asked, Measurements, asked
from control.controllers.autoscaler.rates import Limits, Memory, paced
from control.controllers.autoscaler.replicas import Question, Tolerance
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class ScaleView:
    """The scale of a workload, as its subresource says."""

    replicas: int
    selector: str
    wire: Mapping[str, Any] = field(default_factory=dict)
    present: int = 0  # as its status says


class Round:
    """One look at an autoscaler: its conditions and Events come together here."""

    def __init__(
        self,
        autoscaler: HorizontalPodAutoscaler,
        now: float,
        settings: AutoscalerSettings = DEFAULT,
    ) -> None:
        self.autoscaler, self.now, self.settings = autoscaler, now, settings
        self.conditions = list(autoscaler.status.conditions)
        self.events: list[tuple[EventType, str, str]] = []
        self.metrics: tuple[dict[str, Any], ...] = ()

    def say(self, type_: str, status: bool, reason: str, message: str) -> None:
        """Set a condition; the order stays."""
        text = "True" if status else "False"
        made = Condition(type=type_, status=text, reason=reason, message=message)
        order = [it.type for it in self.conditions]
        found = {it.type: it for it in with_condition(self.conditions, made, self.now)}
        self.conditions = [found[it] for it in dict.fromkeys([*order, type_])]

    def warn(self, reason: str, message: str) -> None:
        """Note an Event of type Warning."""
        self.events.append(("Warning", reason, message))

    def no_scale(self, why: str) -> None:
        """Say that the scale cannot be read."""
        self.warn("FailedGetScale", why)
        text = f"the HPA controller was unable to get the target's current scale: {why}"
        self.say(ABLE, False, "FailedGetScale", text)

    def status(self, current: int, desired: int, *, rescaled: bool = False) -> AutoscalerStatus:
        """Return the autoscaler's next status."""
        old = self.autoscaler.status
        change: dict[str, Any] = {
            "current_replicas": current,
            "desired_replicas": desired,
            "current_metrics": list(self.metrics),
            "conditions": self.conditions,
        }
        if rescaled:
            change["last_scale_time"] = rfc3339(self.now)
        return old.model_copy(update=change)

    def unchanged(self) -> AutoscalerStatus:
        """Return the status with only its conditions changed."""
        return self.autoscaler.status.model_copy(update={"conditions": self.conditions})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The number of Pods that there should be; None if nothing can be said of it."""

    replicas: int | None
    reason: str = ""


def simple(round_: Round, scale: ScaleView) -> Verdict | None:
    """Return what follows without metrics; None if they have to be asked."""
    spec = round_.autoscaler.spec
    text = "the HPA controller was able to get the target's current scale"
    round_.say(ABLE, True, "SucceededGetScale", text)
    least, current = _least(round_.autoscaler), scale.replicas
    if current == 0 and least != 0:
        text = "scaling is disabled since the replica count of the target is zero"
        round_.say(ACTIVE, False, "ScalingDisabled", text)
        return Verdict(0)
    if current > spec.max_replicas:
        return Verdict(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
    if current < least:
        return Verdict(least, "Current number of replicas below Spec.MinReplicas")
    return None


def selected(round_: Round, scale: ScaleView) -> Labels | None:
    """Return the selector of a workload's Pods; None, and a condition, if there is none."""
    if not scale.selector:
        round_.warn("SelectorRequired", "selector is required")
        round_.warn("FailedComputeMetricsReplicas", "selector is required")
        text = "the HPA target's scale is missing a selector"
        round_.say(ACTIVE, False, "InvalidSelector", text)
        return None
    try:
        return parse_labels(scale.selector)
    except SelectorError as err:
        why = f"couldn't convert selector into a corresponding internal selector object: {err}"
        round_.warn("InvalidSelector", why)
        round_.warn("FailedComputeMetricsReplicas", why)
        round_.say(ACTIVE, False, "InvalidSelector", why)
        return None


def is_ambiguous(
    round_: Round, scale: ScaleView, pods: tuple[Pod, ...], others: Mapping[str, Memory]
) -> bool:
    """Tell of other autoscalers that select some of the same Pods; True if there are any."""
    also = [name for name, memory in others.items() if _selects_any(memory.selector, pods)]
    if not also:
        return False
    metadata = round_.autoscaler.metadata
    names = " ".join(sorted([f"{metadata.namespace}/{metadata.name}", *also]))
    why = f"pods by selector {scale.selector} are controlled by multiple HPAs: [{names}]"
    round_.warn("AmbiguousSelector", why)
    round_.warn("FailedComputeMetricsReplicas", why)
    round_.say(ACTIVE, False, "AmbiguousSelector", why)
    return True


def _selects_any(selector: str, pods: tuple[Pod, ...]) -> bool:
    if not selector:
        return False
    labels = parse_labels(selector)  # it was read at the other's last look
    return any(labels.matches(pod.metadata.labels) for pod in pods)


def measured(
    round_: Round,
    scale: ScaleView,
    pods: tuple[Pod, ...],
    found: Measurements,
    memory: Memory,
) -> Verdict:
    """Return what the metrics ask for, as fast as it may be."""
    autoscaler, current, now = round_.autoscaler, scale.replicas, round_.now
    spec = autoscaler.spec
    settings = round_.settings
    tolerance = _tolerance(autoscaler, settings.tolerance)
    question = Question("", "", pods, current, tolerance, now, scale.present, settings)
    wanted = asked(spec.metrics, question, found)
    round_.metrics = wanted.statuses
    if not _may_go_on(round_, wanted, len(spec.metrics), current):
        return Verdict(None)
    limits = Limits(current, _least(autoscaler), spec.max_replicas)
    pace = paced(memory, spec.behavior, limits, wanted.replicas, now, settings.window)
    round_.say(ABLE, True, *pace.stable)
    round_.say(LIMITED, pace.limited, *pace.limit)
    return Verdict(pace.replicas, _why(wanted, current))


def _why(wanted: Asked, current: int) -> str:
    if wanted.replicas > current:
        return f"{wanted.name} above target"
    return "All metrics below target" if wanted.replicas < current else ""


def _may_go_on(round_: Round, wanted: Asked, count: int, current: int) -> bool:
    """Tell of metrics that say nothing; False if there are only such, or fewer Pods result."""
    failures = wanted.failures
    for failure in failures:
        round_.warn(failure.reason, failure.message)
    if len(failures) >= count or (failures and wanted.replicas < current):
        first = failures[0] if failures else None
        if first is not None:
            text = f"the HPA was unable to compute the replica count: {first.message}"
            round_.say(ACTIVE, False, first.reason, text)
            why = f"invalid metrics ({len(failures)} invalid out of {count}), first error is: "
            round_.warn("FailedComputeMetricsReplicas", why + first.summary)
        return False
    text = f"the HPA was able to successfully calculate a replica count from {wanted.name}"
    round_.say(ACTIVE, True, "ValidMetricFound", text)
    return True


def _least(autoscaler: HorizontalPodAutoscaler) -> int:
    least = autoscaler.spec.min_replicas
    return 1 if least is None else least


def _tolerance(autoscaler: HorizontalPodAutoscaler, default: float) -> Tolerance:
    """Return the tolerances of an autoscaler: its own (KEP-4951), else the process's."""
    behavior = autoscaler.spec.behavior
    rules = (behavior.scale_up, behavior.scale_down) if behavior else (None, None)
    given = (it.tolerance if it is not None else None for it in rules)
    up, down = (default if it is None else parse(it).nano / 1e9 for it in given)
    return Tolerance(up, down)
