"""Topology spread: distributes Pods evenly over nodes and zones. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control.api.placement import TopologySpreadConstraint
from control.api.pod import Pod
from control.api.scheduling import allows, untolerated
from control.api.selectors import IN, Labels, Requirement, from_model
from control.scheduler.model import NodeInfo, PodGroup, PodInfo, Refusal

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
_UNEVEN = "node(s) didn't match pod topology spread constraints"
MISSING = Refusal((f"{_UNEVEN} (missing required label)",), final=True)
SKEWED = Refusal((_UNEVEN,))


@dataclass(frozen=True, slots=True)
class Constraint:
    """A limit of ``max_skew`` on the uneven distribution of Pods over a node label's values."""

    key: str
    max_skew: int
    selector: Labels
    hard: bool
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


def constraints(pod: Pod, siblings: Labels | None) -> list[Constraint]:
    """Return a Pod's own constraints, or upstream's built-in ones if it has siblings."""
    if pod.spec.topology_spread_constraints:
        return [_constraint(pod, item) for item in pod.spec.topology_spread_constraints]
    if siblings is None or not siblings.requirements:
        return []
    return [
        Constraint(HOSTNAME, 3, siblings, hard=False),
        Constraint(ZONE, 5, siblings, hard=False),
    ]


def _constraint(pod: Pod, item: TopologySpreadConstraint) -> Constraint:
    found = from_model(item.label_selector).requirements if item.label_selector else None
    labels = pod.metadata.labels
    own = [Requirement(k, IN, frozenset([labels[k]])) for k in item.match_label_keys if k in labels]
    # No selector at all matches nothing.
    never = (Requirement("", IN),)
    return Constraint(
        key=item.topology_key,
        max_skew=item.max_skew,
        selector=Labels((*(found if found is not None else never), *own)),
        hard=item.when_unsatisfiable != "ScheduleAnyway",
        min_domains=item.min_domains or 1,
        honor_affinity=item.node_affinity_policy != "Ignore",
        honor_taints=item.node_taints_policy == "Honor",
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """One constraint with the number of counted Pods in each domain."""

    constraint: Constraint
    namespace: str
    counts: dict[str, int]
    itself: int  # 1 if the constraint counts the Pod itself

    def count(self, other: PodInfo, node: NodeInfo, by: int) -> None:
        """Add a placed Pod, or take it away."""
        meta, domain = other.pod.metadata, node.node.metadata.labels.get(self.constraint.key)
        if domain not in self.counts or meta.deletion_timestamp or meta.namespace != self.namespace:
            return
        if self.constraint.selector.matches(meta.labels):
            self.counts[domain] += by

    def refusal(self, node: NodeInfo) -> Refusal | None:
        """Return why a hard constraint refuses a node; None if it does not."""
        domain = node.node.metadata.labels.get(self.constraint.key)
        if domain is None:
            return MISSING
        few = len(self.counts) < self.constraint.min_domains
        least = 0 if few else min(self.counts.values(), default=0)
        skew = self.counts.get(domain, 0) + self.itself - least
        return SKEWED if skew > self.constraint.max_skew else None

    def crowd(self, node: NodeInfo) -> float:
        """Return the number of Pods in a node's domain, weighted as upstream to compare."""
        domain = node.node.metadata.labels.get(self.constraint.key)
        if domain is None:
            return 0.0
        weight = math.log(len(self.counts) + 2)
        return self.counts.get(domain, 0) * weight + self.constraint.max_skew - 1


def measure(pod: Pod, wanted: Sequence[Constraint], nodes: Iterable[NodeInfo]) -> list[Spread]:
    """Count the Pods of each constraint on the nodes that the Pod could run on."""
    nodes = list(nodes)
    keys = {c.key for c in wanted if c.hard}
    return [
        Spread(
            constraint=item,
            namespace=pod.metadata.namespace or "",
            counts=_count(pod, item, [n for n in nodes if keys <= n.node.metadata.labels.keys()]),
            itself=int(item.selector.matches(pod.metadata.labels)),
        )
        for item in wanted
    ]


def _count(pod: Pod, item: Constraint, nodes: Sequence[NodeInfo]) -> dict[str, int]:
    counts: dict[str, int] = {}
    counted: dict[PodGroup, bool] = {}  # most groups are on many nodes
    namespace = pod.metadata.namespace or ""
    for node in nodes:
        domain = node.node.metadata.labels.get(item.key)
        if domain is None or not _eligible(pod, item, node):
            continue
        matching = 0
        for group, count in node.groups.items():
            if (counts_here := counted.get(group)) is None:
                own = group.namespace == namespace
                counts_here = counted[group] = own and item.selector.matches(dict(group.labels))
            matching += count if counts_here else 0
        counts[domain] = counts.get(domain, 0) + matching
    return counts


def _eligible(pod: Pod, item: Constraint, node: NodeInfo) -> bool:
    if item.honor_affinity and not allows(pod, node.node):
        return False
    if not item.honor_taints:
        return True
    effects = ("NoSchedule", "NoExecute")
    return untolerated(node.node.spec.taints, pod.spec.tolerations, *effects) is None
