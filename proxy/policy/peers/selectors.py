"""Whether a label selector selects (meta/v1 LabelSelector): pure."""

from collections.abc import Mapping

from proxy.policy.values import Condition, Operator, Selector


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Return True if every condition holds."""
    return all(_holds(condition, labels) for condition in selector.conditions)


def _holds(condition: Condition, labels: Mapping[str, str]) -> bool:
    value = labels.get(condition.key)
    match condition.operator:
        case Operator.IN:
            return value is not None and value in condition.values
        case Operator.NOT_IN:
            return value is None or value not in condition.values
        case Operator.EXISTS:
            return value is not None
        case _:
            return value is None
