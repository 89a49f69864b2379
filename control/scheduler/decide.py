"""Decides the node of a Pod: filter, then score. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from control.scheduler.fit import Fit, Surroundings, measure
from control.scheduler.model import NodeInfo, PodInfo, Refusal
from control.scheduler.neighbors import attraction
from control.scheduler.scores import best

Choose = Callable[[Sequence[str]], str]

# Of more nodes than this only a part is compared, as upstream's percentageOfNodesToScore.
_COMPARE_ALL = 100


@dataclass(frozen=True, slots=True)
class Placement:
    """The node for a Pod."""

    node: str


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """The reasons why no node can run a Pod, by node; ``fit`` has what was counted for it."""

    refusals: Mapping[str, Refusal]
    fit: Fit

    @property
    def message(self) -> str:
        """In upstream's words: ``0/3 nodes are available: 1 ..., 2 Insufficient cpu.``"""
        if not self.refusals:
            return "no nodes available to schedule pods"
        return unavailable(self.refusals.values())


def unavailable(refusals: Collection[Refusal]) -> str:
    """Return in upstream's words why none of some nodes is available."""
    reasons = Counter(reason for refusal in refusals for reason in refusal.reasons)
    parts = sorted(f"{count} {reason}" for reason, count in reasons.items())
    return f"0/{len(refusals)} nodes are available: {', '.join(parts)}."


def place(
    info: PodInfo,
    nodes: Mapping[str, NodeInfo],
    around: Surroundings,
    choose: Choose,
    start: int = 0,
) -> Placement | NoPlacement:
    """Return the best node for a Pod, or the reasons why there is none.

    ``choose`` picks one of several best nodes. ``start`` is the index of the first node to look at,
    for clusters in which not all nodes are compared.
    """
    order = list(nodes.values())
    order = order[start % len(order) :] + order[: start % len(order)] if order else []
    fit = measure(info, order, around)
    nominated = nodes.get(info.pod.status.nominated_node_name or "")
    if nominated is not None and fit.refusal(nominated) is None:
        return Placement(nominated.name)
    possible, refusals = _look(fit, order)
    if not possible:
        return NoPlacement(refusals, fit)
    if len(possible) == 1:
        return Placement(possible[0].name)
    pull = attraction(info, order, around.namespaces)
    return Placement(choose(best(fit, possible, pull)))


def _look(fit: Fit, order: Sequence[NodeInfo]) -> tuple[list[NodeInfo], dict[str, Refusal]]:
    """Return enough possible nodes, and the refusals of those that were looked at before."""
    enough = _enough(len(order))
    possible: list[NodeInfo] = []
    refusals: dict[str, Refusal] = {}
    for node in order:
        against = fit.refusal(node)
        if against is not None:
            refusals[node.name] = against
            continue
        possible.append(node)
        if len(possible) >= enough:
            break
    return possible, refusals


def _enough(nodes: int) -> int:
    """The number of possible nodes that is enough: a half, or fewer in very large clusters."""
    if nodes <= _COMPARE_ALL:
        return nodes
    percent = max(5, 50 - nodes // 125)
    return max(_COMPARE_ALL, nodes * percent // 100)
