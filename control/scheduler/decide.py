"""Decides the node of a Pod: filter, then score. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from control.api.selectors import Labels
from control.scheduler.filters import Reasons, refusals
from control.scheduler.model import NodeInfo, PodInfo
from control.scheduler.scores import best
from control.scheduler.spread import Spread, constraints, measure

Choose = Callable[[Sequence[str]], str]

# Of more nodes than this only a part is compared, as upstream's percentageOfNodesToScore.
_COMPARE_ALL = 100


@dataclass(frozen=True, slots=True)
class Placement:
    """The node for a Pod."""

    node: str


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """The reasons why none of ``nodes`` nodes can run a Pod, each with its number of nodes."""

    nodes: int
    reasons: tuple[tuple[str, int], ...]

    @property
    def message(self) -> str:
        """In upstream's words: ``0/3 nodes are available: 1 ..., 2 Insufficient cpu.``"""
        if not self.nodes:
            return "no nodes available to schedule pods"
        parts = sorted(f"{count} {reason}" for reason, count in self.reasons)
        return f"0/{self.nodes} nodes are available: {', '.join(parts)}."


def place(
    info: PodInfo,
    nodes: Mapping[str, NodeInfo],
    siblings: Labels | None,
    choose: Choose,
    start: int = 0,
) -> Placement | NoPlacement:
    """Return the best node for a Pod, or the reasons why there is none.

    ``siblings`` selects the Pods from which the Pod is kept apart if its spec has no constraints of
    its own. ``choose`` picks one of several best nodes. ``start`` is the index of the first node to
    look at, for clusters in which not all nodes are compared.
    """
    order = list(nodes.values())
    order = order[start % len(order) :] + order[: start % len(order)] if order else []
    spreads = measure(info.pod, constraints(info.pod, siblings), order)
    enough = _enough(len(order))
    possible: list[NodeInfo] = []
    reasons: Counter[str] = Counter()
    for node in order:
        against = refusals(info, node) or _skewed(spreads, node)
        reasons.update(against)
        if not against:
            possible.append(node)
            if len(possible) >= enough:
                break
    if not possible:
        return NoPlacement(len(order), tuple(sorted(reasons.items())))
    return Placement(choose(best(info, possible, spreads)))


def _skewed(spreads: Sequence[Spread], node: NodeInfo) -> Reasons:
    for item in spreads:
        if item.constraint.hard and (against := item.refusals(node)):
            return against
    return ()


def _enough(nodes: int) -> int:
    """The number of possible nodes that is enough: a half, or fewer in very large clusters."""
    if nodes <= _COMPARE_ALL:
        return nodes
    percent = max(5, 50 - nodes // 125)
    return max(_COMPARE_ALL, nodes * percent // 100)
