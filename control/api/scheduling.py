"""Match Pods with nodes: nodeSelector, node affinity, taints and tolerations. Pure.

Both the scheduler and the DaemonSet controller place Pods by these rules. Sources:
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Iterable, Mapping, Sequence

from control.api.node import Node, Taint
from control.api.placement import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Toleration,
)
from control.api.pod import Pod
from control.api.selectors import Requirement


def allows(pod: Pod, node: Node) -> bool:
    """Return True if the Pod's nodeSelector and its required node affinity match the node."""
    if not pod.spec.node_selector.items() <= node.metadata.labels.items():
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    return affinity is None or affinity.required is None or selects(affinity.required, node)


def preference(pod: Pod, node: Node) -> int:
    """Return the sum of the weights of the preferred terms that match the node."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    preferred = affinity.preferred if affinity else []
    return sum(term.weight for term in preferred if _term(term.preference, node))


def selects(selector: NodeSelector, node: Node) -> bool:
    """Return True if any term matches the node; a selector without terms selects no node."""
    return any(_term(term, node) for term in selector.node_selector_terms)


def _term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False  # an empty term selects nothing, as the API says
    fields = {"metadata.name": node.metadata.name}
    return _all(term.match_expressions, node.metadata.labels) and _all(term.match_fields, fields)


def _all(wanted: Sequence[NodeSelectorRequirement], labels: Mapping[str, str]) -> bool:
    return all(Requirement(r.key, r.operator, frozenset(r.values)).matches(labels) for r in wanted)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Return True if the toleration covers the taint; an empty key with Exists covers all."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == (taint.value or "")


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Toleration], *effects: str
) -> Taint | None:
    """Return the first taint with one of these effects that no toleration covers."""
    tolerations = list(tolerations)
    for taint in taints:
        if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None
