"""Which nodes a Pod may, and would rather, be on by its nodeSelector and node affinity. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from collections.abc import Mapping, Sequence

from control.api.node import Node
from control.api.placement import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from control.api.pod import Pod
from control.api.selectors import Requirement


def allows(pod: Pod, node: Node) -> bool:
    """Whether the nodeSelector and the required node affinity hold."""
    if not pod.spec.node_selector.items() <= node.metadata.labels.items():
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    return affinity is None or affinity.required is None or selects(affinity.required, node)


def preference(pod: Pod, node: Node) -> int:
    """The sum of the weights of the wishes that a node fulfils."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    wishes = affinity.preferred if affinity else []
    return sum(wish.weight for wish in wishes if _term(wish.preference, node))


def selects(selector: NodeSelector, node: Node) -> bool:
    """Whether any term holds; none at all selects nothing."""
    return any(_term(term, node) for term in selector.node_selector_terms)


def _term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False  # an empty term selects nothing, as the API says
    fields = {"metadata.name": node.metadata.name}
    return _all(term.match_expressions, node.metadata.labels) and _all(term.match_fields, fields)


def _all(wanted: Sequence[NodeSelectorRequirement], labels: Mapping[str, str]) -> bool:
    return all(Requirement(r.key, r.operator, frozenset(r.values)).matches(labels) for r in wanted)
