"""policy/v1 PodDisruptionBudget, and the condition that follows from its numbers."""

from collections.abc import Sequence

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, LabelSelector, Object
from control.api.times import rfc3339

ALWAYS_ALLOW, IF_HEALTHY_BUDGET = "AlwaysAllow", "IfHealthyBudget"
ALLOWED = "DisruptionAllowed"
SUFFICIENT, INSUFFICIENT, SYNC_FAILED = "SufficientPods", "InsufficientPods", "SyncFailed"


class PodDisruptionBudgetSpec(Model):
    """How many Pods must stay, or may go: numbers or percentages."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(Model):
    """What the controller counted; ``disrupted_pods`` says when Pods were evicted, by name."""

    observed_generation: int | None = None
    disrupted_pods: dict[str, str] = {}
    disruptions_allowed: Int32 = 0
    current_healthy: Int32 = 0
    desired_healthy: Int32 = 0
    expected_pods: Int32 = 0
    conditions: list[Condition] = []


class PodDisruptionBudget(Object):
    """policy/v1 PodDisruptionBudget."""

    spec: PodDisruptionBudgetSpec = Field(default_factory=PodDisruptionBudgetSpec)
    status: PodDisruptionBudgetStatus = Field(default_factory=PodDisruptionBudgetStatus)


def allowed_condition(status: PodDisruptionBudgetStatus, now: float) -> list[Condition]:
    """Return the conditions as the number of allowed disruptions wants them."""
    enough = status.disruptions_allowed > 0
    made = Condition(
        type=ALLOWED,
        status="True" if enough else "False",
        reason=SUFFICIENT if enough else INSUFFICIENT,
        message="",
        observed_generation=status.observed_generation,
    )
    return with_condition(status.conditions, made, now)


def with_condition(held: Sequence[Condition], new: Condition, now: float) -> list[Condition]:
    """Return conditions with a new one; its time of transition stays if its status does."""
    old = next((it for it in held if it.type == new.type), None)
    same = old is not None and old.status == new.status
    since = old.last_transition_time if old is not None and same else rfc3339(now)
    dated = new.model_copy(update={"last_transition_time": since})
    return [*(it for it in held if it.type != new.type), dated]
