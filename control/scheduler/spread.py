"""Topology spread: how evenly Pods lie over nodes and zones. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control.api.placement import TopologySpreadConstraint
from control.api.pod import Pod
from control.api.scheduling import allows, untolerated
from control.api.selectors import IN, Labels, Requirement, from_model
from control.scheduler.model import NodeInfo

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
MISSING = "node(s) didn't match pod topology spread constraints (missing required label)"
SKEWED = "node(s) didn't match pod topology spread constraints"


@dataclass(frozen=True, slots=True)
class Constraint:
    """The Pods that ``selector`` matches lie over the values of a node label no more unevenly than
    ``max_skew``."""

    key: str
    max_skew: int
    selector: Labels
    hard: bool
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


def constraints(pod: Pod, kin: Labels | None) -> list[Constraint]:
    """A Pod's own constraints, or the built-in ones of upstream for Pods that have kin: those
    which a Service or their controller selects."""
    if pod.spec.topology_spread_constraints:
        return [_constraint(pod, item) for item in pod.spec.topology_spread_constraints]
    if kin is None or not kin.requirements:
        return []
    return [Constraint(HOSTNAME, 3, kin, hard=False), Constraint(ZONE, 5, kin, hard=False)]


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
    """One constraint, and how many Pods it counts in each domain."""

    constraint: Constraint
    counts: Mapping[str, int]
    itself: int  # 1 if the Pod counts as one of them

    def refusals(self, node: NodeInfo) -> tuple[str, ...]:
        """Why a hard constraint forbids a node."""
        domain = node.node.metadata.labels.get(self.constraint.key)
        if domain is None:
            return (MISSING,)
        few = len(self.counts) < self.constraint.min_domains
        least = 0 if few else min(self.counts.values(), default=0)
        skew = self.counts.get(domain, 0) + self.itself - least
        return (SKEWED,) if skew > self.constraint.max_skew else ()

    def crowd(self, node: NodeInfo) -> float:
        """How crowded a node's domain is, weighted so that constraints compare (as upstream)."""
        domain = node.node.metadata.labels.get(self.constraint.key)
        if domain is None:
            return 0.0
        weight = math.log(len(self.counts) + 2)
        return self.counts.get(domain, 0) * weight + self.constraint.max_skew - 1


def measure(pod: Pod, wanted: Sequence[Constraint], nodes: Iterable[NodeInfo]) -> list[Spread]:
    """Count the Pods of each constraint over the nodes that the Pod could be on."""
    nodes = list(nodes)
    keys = {c.key for c in wanted if c.hard}
    return [
        Spread(
            constraint=item,
            counts=_count(pod, item, [n for n in nodes if keys <= n.node.metadata.labels.keys()]),
            itself=int(item.selector.matches(pod.metadata.labels)),
        )
        for item in wanted
    ]


def _count(pod: Pod, item: Constraint, nodes: Sequence[NodeInfo]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        domain = node.node.metadata.labels.get(item.key)
        if domain is None or not _eligible(pod, item, node):
            continue
        matching = sum(
            count
            for kin, count in node.kin.items()
            if kin.namespace == (pod.metadata.namespace or "")
            and item.selector.matches(dict(kin.labels))
        )
        counts[domain] = counts.get(domain, 0) + matching
    return counts


def _eligible(pod: Pod, item: Constraint, node: NodeInfo) -> bool:
    if item.honor_affinity and not allows(pod, node.node):
        return False
    if not item.honor_taints:
        return True
    effects = ("NoSchedule", "NoExecute")
    return untolerated(node.node.spec.taints, pod.spec.tolerations, *effects) is None
