"""Validate the affinity of a Pod to nodes and to other Pods. Pure.

Source: pkg/apis/core/validation of k8s.io/kubernetes.
"""

from collections import Counter
from collections.abc import Sequence

from control.api import field
from control.api.field import FieldError
from control.api.placement import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
)
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_selector

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHTS = range(1, 101)


def validate_affinity(path: str, affinity: Affinity | None) -> list[FieldError]:
    """Check required and preferred affinity to nodes and to other Pods."""
    if affinity is None:
        return []
    found = _to_nodes(path, affinity.node_affinity) if affinity.node_affinity else []
    for name, pods in (
        ("podAffinity", affinity.pod_affinity),
        ("podAntiAffinity", affinity.pod_anti_affinity),
    ):
        found += _to_pods(f"{path}.{name}", pods) if pods else []
    return found


def _to_nodes(path: str, node: NodeAffinity) -> list[FieldError]:
    found: list[FieldError] = []
    if node.required is not None:
        own = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        found += validate_node_selector(own, node.required)
    own = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    for at, preferred in enumerate(node.preferred):
        found += _weight(f"{own}[{at}]", preferred.weight)
        found += _term(f"{own}[{at}].preference", preferred.preference, strict=False)
    return found


def validate_node_selector(path: str, selector: NodeSelector) -> list[FieldError]:
    """Check the terms by which nodes are chosen; there is one at least."""
    own, found = f"{path}.nodeSelectorTerms", []
    if not selector.node_selector_terms:
        found.append(field.required(own, "must have at least one node selector term"))
    for at, term in enumerate(selector.node_selector_terms):
        found += _term(f"{own}[{at}]", term, strict=True)
    return found


def _term(path: str, term: NodeSelectorTerm, *, strict: bool) -> list[FieldError]:
    """Check a term; ``strict`` also the values, which a preferred term may have any."""
    found = []
    for at, requirement in enumerate(term.match_expressions):
        own = f"{path}.matchExpressions[{at}]"
        found += _requirement(own, requirement)
        for number, value in enumerate(requirement.values if strict else ()):
            found += invalid_each(f"{own}.values[{number}]", value, text.label_value(value))
    for at, requirement in enumerate(term.match_fields):
        found += _field(f"{path}.matchFields[{at}]", requirement)
    return found


def _field(path: str, requirement: NodeSelectorRequirement) -> list[FieldError]:
    found = []
    if requirement.operator not in ("In", "NotIn"):
        why = "not a valid selector operator"
        found.append(field.invalid(f"{path}.operator", requirement.operator, why))
    elif len(requirement.values) != 1:
        operators = "`operator` is 'In' or 'NotIn'"
        why = f"must be only one value when {operators} for node field selector"
        found.append(field.required(f"{path}.values", why))
    if requirement.key != "metadata.name":
        why = "not a valid field selector key"
        return [*found, field.invalid(f"{path}.key", requirement.key, why)]
    for at, name in enumerate(requirement.values):
        found += invalid_each(f"{path}.values[{at}]", name, text.dns_subdomain(name))
    return found


def _requirement(path: str, requirement: NodeSelectorRequirement) -> list[FieldError]:
    found = []
    match requirement.operator:
        case "In" | "NotIn":
            if not requirement.values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(field.required(f"{path}.values", why))
        case "Exists" | "DoesNotExist":
            if requirement.values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(field.forbidden(f"{path}.values", why))
        case "Gt" | "Lt":
            if len(requirement.values) != 1:
                why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                found.append(field.required(f"{path}.values", why))
        case _:
            why = "not a valid selector operator"
            found.append(field.invalid(f"{path}.operator", requirement.operator, why))
    return found + invalid_each(
        f"{path}.key", requirement.key, text.qualified_name(requirement.key)
    )


def _to_pods(path: str, affinity: PodAffinity) -> list[FieldError]:
    found: list[FieldError] = []
    for at, term in enumerate(affinity.required):
        found += _pods(f"{path}.{_REQUIRED}[{at}]", term)
    for at, preferred in enumerate(affinity.preferred):
        own = f"{path}.{_PREFERRED}[{at}]"
        found += _weight(own, preferred.weight)
        found += _pods(f"{own}.podAffinityTerm", preferred.pod_affinity_term)
    return found


def _weight(path: str, weight: int) -> list[FieldError]:
    if weight in _WEIGHTS:
        return []
    return [field.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _pods(path: str, term: PodAffinityTerm) -> list[FieldError]:
    found: list[FieldError] = []
    if term.label_selector:
        found += validate_selector(f"{path}.labelSelector", term.label_selector)
    if term.namespace_selector:
        found += validate_selector(f"{path}.namespaceSelector", term.namespace_selector)
    for name in term.namespaces:
        found += invalid_each(f"{path}.namespace", name, text.dns_label(name))
    found += _label_keys(f"{path}.matchLabelKeys", term, term.match_label_keys)
    found += _label_keys(f"{path}.mismatchLabelKeys", term, term.mismatch_label_keys)
    found += _contradictions(f"{path}.matchLabelKeys", term)
    if not term.topology_key:
        found.append(field.required(f"{path}.topologyKey", "can not be empty"))
    key = term.topology_key
    return found + invalid_each(f"{path}.topologyKey", key, text.qualified_name(key))


def _label_keys(path: str, term: PodAffinityTerm, keys: Sequence[str]) -> list[FieldError]:
    if keys and term.label_selector is None:
        return [field.forbidden(path, "must not be specified when labelSelector is not set")]
    found: list[FieldError] = []
    for at, key in enumerate(keys):
        found += invalid_each(f"{path}[{at}]", key, text.qualified_name(key))
    return found


def _contradictions(path: str, term: PodAffinityTerm) -> list[FieldError]:
    """Refuse keys that the term names twice; a new Pod's own labels are joined to it before."""
    selector, opposite = term.label_selector, {*term.mismatch_label_keys}
    named = Counter([*selector.match_labels] if selector else [])
    named.update(it.key for it in (selector.match_expressions if selector else ()))
    found = []
    for at, key in enumerate(term.match_label_keys):
        if named[key] > 1:
            why = "exists in both matchLabelKeys and labelSelector"
            found.append(field.invalid(f"{path}[{at}]", key, why))
        if key in opposite:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(field.invalid(f"{path}[{at}]", key, why))
    return found
