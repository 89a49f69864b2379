"""Validate PodDisruptionBudgets. Pure.

Source: k8s.io/kubernetes/pkg/apis/policy/validation.
"""

from control.api import field
from control.api.field import FieldError
from control.api.policy import ALWAYS_ALLOW, IF_HEALTHY_BUDGET, PodDisruptionBudget
from control.api.validation.meta import validate_selector
from control.api.validation.text import NOT_NEGATIVE
from control.api.validation.workload import percent_of, validate_amount


def validate_budget(budget: PodDisruptionBudget) -> list[FieldError]:
    """Check what a budget asks for."""
    spec, found = budget.spec, []
    if spec.min_available is not None and spec.max_unavailable is not None:
        why = "minAvailable and maxUnavailable cannot be both set"
        found.append(field.invalid("spec", spec, why))
    found += _share("spec.minAvailable", spec.min_available)
    found += _share("spec.maxUnavailable", spec.max_unavailable)
    if spec.selector is not None:
        found += validate_selector("spec.selector", spec.selector)
    policy = spec.unhealthy_pod_eviction_policy
    if policy not in (None, ALWAYS_ALLOW, IF_HEALTHY_BUDGET):
        known = (ALWAYS_ALLOW, IF_HEALTHY_BUDGET)
        found.append(field.not_supported("spec.unhealthyPodEvictionPolicy", policy, known))
    return found


def _share(path: str, value: int | str | None) -> list[FieldError]:
    found = validate_amount(path, value)
    if not found and percent_of(value) > 100:
        found.append(field.invalid(path, value, "must not be greater than 100%"))
    return found


def validate_budget_status(budget: PodDisruptionBudget) -> list[FieldError]:
    """Check the numbers of a status."""
    status = budget.status
    numbers = {
        "disruptionsAllowed": status.disruptions_allowed,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "expectedPods": status.expected_pods,
    }
    return [
        field.invalid(f"status.{name}", value, NOT_NEGATIVE)
        for name, value in numbers.items()
        if value < 0
    ]
