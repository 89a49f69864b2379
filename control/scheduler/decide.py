"""Where a Pod goes: filter, then score. Pure."""

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
    """No node takes a Pod: how many there are, and what each says."""

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
    kin: Labels | None,
    choose: Choose,
    start: int = 0,
) -> Placement | NoPlacement:
    """The best node for a Pod, or why there is none.

    ``kin``: which Pods the Pod should be kept apart from if it does not say so itself; ``choose``
    decides between equals; ``start``: at which node the search begins when not all are compared.
    """
    order = list(nodes.values())
    order = order[start % len(order) :] + order[: start % len(order)] if order else []
    spreads = measure(info.pod, constraints(info.pod, kin), order)
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
    """How many possible nodes are enough to choose from: half of them, less of very many."""
    if nodes <= _COMPARE_ALL:
        return nodes
    percent = max(5, 50 - nodes // 125)
    return max(_COMPARE_ALL, nodes * percent // 100)
