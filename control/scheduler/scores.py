"""Scores the possible nodes, from 0 to 100 each, with upstream's weights. Pure."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from control.api.scheduling import preference, tolerates
from control.scheduler.model import NodeInfo, PodInfo
from control.scheduler.spread import Spread

Scores = Mapping[str, float]  # by node
Score = Callable[[PodInfo, Sequence[NodeInfo], Sequence[Spread]], Scores]

_COMPARED = ("cpu", "memory")


def taints(info: PodInfo, nodes: Sequence[NodeInfo], _: Sequence[Spread]) -> Scores:
    """Prefer nodes with few PreferNoSchedule taints that the Pod does not tolerate."""

    def unwelcome(node: NodeInfo) -> int:
        prefers = (t for t in node.node.spec.taints if t.effect == "PreferNoSchedule")
        return sum(not any(tolerates(x, t) for x in info.pod.spec.tolerations) for t in prefers)

    return _normalized({node.name: unwelcome(node) for node in nodes}, reverse=True)


def affinity(info: PodInfo, nodes: Sequence[NodeInfo], _: Sequence[Spread]) -> Scores:
    """Prefer nodes that match more of the preferred node affinity."""
    return _normalized({node.name: preference(info.pod, node.node) for node in nodes})


def spread(_: PodInfo, nodes: Sequence[NodeInfo], spreads: Sequence[Spread]) -> Scores:
    """Prefer nodes in domains with fewer of the counted Pods."""
    soft = [item for item in spreads if not item.constraint.hard]
    if not soft:
        return {}
    crowds = {node.name: sum(item.crowd(node) for item in soft) for node in nodes}
    most, least = max(crowds.values()), min(crowds.values())
    return {n: 100 * (most + least - c) / most if most else 100 for n, c in crowds.items()}


def least_allocated(info: PodInfo, nodes: Sequence[NodeInfo], _: Sequence[Spread]) -> Scores:
    """Prefer nodes with more free CPU and memory."""
    return {
        node.name: 100 * (1 - statistics.fmean(_fractions(info, node, node.guessed)))
        for node in nodes
    }


def balanced(info: PodInfo, nodes: Sequence[NodeInfo], _: Sequence[Spread]) -> Scores:
    """Prefer nodes with similar used shares of CPU and memory."""
    return {
        node.name: 100 * (1 - statistics.pstdev(_fractions(info, node, node.requested)))
        for node in nodes
    }


def _fractions(info: PodInfo, node: NodeInfo, used: Mapping[str, int]) -> list[float]:
    """Return the used shares of a node's resources, with the Pod on it."""
    wanted = info.guessed if used is node.guessed else info.requests
    found = []
    for name in _COMPARED:
        whole = node.allocatable.get(name, 0)
        amount = used.get(name, 0) + wanted.get(name, 0)
        found.append(min(1.0, amount / whole) if whole else 1.0)
    return found


def _normalized(raw: Mapping[str, int], *, reverse: bool = False) -> Scores:
    most = max(raw.values(), default=0)
    if most == 0:
        return {name: 100 if reverse else 0 for name in raw}
    return {n: 100 - 100 * s / most if reverse else 100 * s / most for n, s in raw.items()}


# Upstream's default weights (pkg/scheduler/apis/config/v1/default_plugins.go).
SCORES: Sequence[tuple[Score, int]] = (
    (taints, 3),
    (affinity, 2),
    (spread, 2),
    (least_allocated, 1),
    (balanced, 1),
)


def best(info: PodInfo, nodes: Sequence[NodeInfo], spreads: Sequence[Spread]) -> list[str]:
    """Return the node of the highest score, or all nodes that share it."""
    if len(nodes) == 1:
        return [nodes[0].name]
    totals = {node.name: 0.0 for node in nodes}
    for score, weight in SCORES:
        _accumulate(totals, score(info, nodes, spreads), weight)
    top = max(totals.values())
    return [name for name, total in totals.items() if total >= top - 1e-6]


def _accumulate(totals: dict[str, float], scores: Scores, weight: int) -> None:
    for name, score in scores.items():
        totals[name] += weight * score
