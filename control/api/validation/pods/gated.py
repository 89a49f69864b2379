"""Validate updates of Pods whose scheduling is gated: what may still be narrowed. Pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/#mutable-pod-scheduling-directives
and pkg/apis/core/validation of k8s.io/kubernetes.
"""

from control.api import field
from control.api.field import FieldError
from control.api.placement import NodeSelector, NodeSelectorTerm
from control.api.pod import PodSpec

_AFFINITY = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
_TERMS = f"{_AFFINITY}.nodeSelectorTerms"


def validate_gates(new: PodSpec, old: PodSpec) -> list[FieldError]:
    """Refuse new gates, and placement that a gated Pod did not have or that is wider."""
    known = {gate.get("name") for gate in old.scheduling_gates}
    found = [
        field.forbidden(
            f"spec.schedulingGates[{at}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'",
        )
        for at, gate in enumerate(new.scheduling_gates)
        if gate.get("name") not in known
    ]
    return found + _narrowed(new, old) if old.scheduling_gates else found


def _narrowed(new: PodSpec, old: PodSpec) -> list[FieldError]:
    found = []
    if not old.node_selector.items() <= new.node_selector.items():
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        found.append(field.invalid("spec.nodeSelector", new.node_selector, why))
    required = _required(old)
    return found + _terms(_required(new), required) if required else found


def _terms(new: NodeSelector | None, old: NodeSelector) -> list[FieldError]:
    after = new.node_selector_terms if new else []
    if len(after) != len(old.node_selector_terms):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [field.invalid(_TERMS, [term.wire() for term in after], why)]
    why = "only additions are allowed (no mutations or deletions)"
    return [
        field.invalid(f"{_TERMS}[{at}]", term.wire(), why)
        for at, (term, before) in enumerate(zip(after, old.node_selector_terms, strict=True))
        if not _extends(term, before)
    ]


def _extends(new: NodeSelectorTerm, old: NodeSelectorTerm) -> bool:
    """True if a term has what it had, and perhaps more; an empty one selects nothing and stays."""
    labels, fields = len(old.match_expressions), len(old.match_fields)
    if not labels and not fields:
        return not new.match_expressions and not new.match_fields
    before = old.match_expressions, old.match_fields
    return (new.match_expressions[:labels], new.match_fields[:fields]) == before


def _required(spec: PodSpec) -> NodeSelector | None:
    nodes = spec.affinity.node_affinity if spec.affinity else None
    return nodes.required if nodes else None
