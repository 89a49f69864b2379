"""Validate tolerations and topology spread constraints of a Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateTolerations,
validateTopologySpreadConstraints)
"""

from collections import Counter
from collections.abc import Sequence

from control.api import field
from control.api.field import FieldError
from control.api.placement import Toleration, TopologySpreadConstraint
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_selector

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES = ("Honor", "Ignore")


def validate_tolerations(path: str, tolerations: Sequence[Toleration]) -> list[FieldError]:
    """Check the tolerations of a Pod."""
    found: list[FieldError] = []
    for at, toleration in enumerate(tolerations):
        found += _toleration(f"{path}[{at}]", toleration)
    return found


def _toleration(path: str, toleration: Toleration) -> list[FieldError]:
    found = []
    if toleration.key:
        found += invalid_each(f"{path}.key", toleration.key, text.qualified_name(toleration.key))
    elif toleration.operator != "Exists":
        why = (
            'operator must be Exists when `key` is empty, which means "match all values and all'
            ' keys"'
        )
        found.append(field.invalid(f"{path}.operator", toleration.operator or "", why))
    if toleration.operator not in (None, "", "Equal", "Exists"):
        known = ("Equal", "Exists")
        found.append(field.not_supported(f"{path}.operator", toleration.operator, known))
    value = toleration.value or ""
    if toleration.operator in (None, "", "Equal") and (messages := text.label_value(value)):
        found.append(field.invalid(f"{path}.operator", value, ";".join(messages)))
    if toleration.operator == "Exists" and toleration.value:
        why = "value must be empty when `operator` is 'Exists'"
        found.append(field.invalid(f"{path}.operator", toleration.value, why))
    if toleration.effect and toleration.effect not in _EFFECTS:
        found.append(field.not_supported(f"{path}.effect", toleration.effect, _EFFECTS))
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        found.append(field.invalid(f"{path}.effect", toleration.effect or "", why))
    return found


def validate_spreading(
    path: str, constraints: Sequence[TopologySpreadConstraint]
) -> list[FieldError]:
    """Check topology spread constraints; each pair of key and action is unique."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for at, constraint in enumerate(constraints):
        own = f"{path}[{at}]"
        found += _constraint(own, constraint)
        key = (constraint.topology_key, constraint.when_unsatisfiable)
        if key in seen:
            found.append(
                field.duplicate(
                    f"{own}.{{topologyKey, whenUnsatisfiable}}", f"{{{', '.join(key)}}}"
                )
            )
        seen.add(key)
    return found


def _constraint(path: str, constraint: TopologySpreadConstraint) -> list[FieldError]:
    found = []
    if constraint.max_skew <= 0:
        why = "must be greater than zero"
        found.append(field.invalid(f"{path}.maxSkew", constraint.max_skew, why))
    if not constraint.topology_key:
        found.append(field.required(f"{path}.topologyKey", "can not be empty"))
    if constraint.when_unsatisfiable not in _UNSATISFIABLE:
        value = constraint.when_unsatisfiable
        found.append(field.not_supported(f"{path}.whenUnsatisfiable", value, _UNSATISFIABLE))
    if constraint.min_domains is not None:
        found += _min_domains(f"{path}.minDomains", constraint.min_domains, constraint)
    for name, policy in (
        ("nodeAffinityPolicy", constraint.node_affinity_policy),
        ("nodeTaintsPolicy", constraint.node_taints_policy),
    ):
        if policy is not None and policy not in _POLICIES:
            found.append(field.not_supported(f"{path}.{name}", policy, _POLICIES))
    found += _label_keys(f"{path}.matchLabelKeys", constraint)
    if constraint.label_selector:
        found += validate_selector(f"{path}.labelSelector", constraint.label_selector)
    return found


def _min_domains(path: str, least: int, constraint: TopologySpreadConstraint) -> list[FieldError]:
    found, action = [], constraint.when_unsatisfiable
    if least <= 0:
        found.append(field.invalid(path, least, "must be greater than zero"))
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        found.append(field.invalid(path, least, why))
    return found


def _label_keys(path: str, constraint: TopologySpreadConstraint) -> list[FieldError]:
    """Check the labels that are compared with the Pod's own; the selector may name them once."""
    if not constraint.match_label_keys:
        return []
    selector = constraint.label_selector
    if selector is None:
        return [field.forbidden(path, "must not be specified when labelSelector is not set")]
    named = Counter([*selector.match_labels, *(it.key for it in selector.match_expressions)])
    found: list[FieldError] = []
    for at, key in enumerate(constraint.match_label_keys):
        found += invalid_each(f"{path}[{at}]", key, text.qualified_name(key))
        if named[key] > 1:
            why = "exists in both matchLabelKeys and labelSelector"
            found.append(field.invalid(f"{path}[{at}]", key, why))
    return found
