"""Scores the possible nodes, from 0 to 100 each, with upstream's weights. Pure."""

from collections.abc import Callable, Mapping, Sequence

from control.api.scheduling import preference, tolerates
from control.scheduler.fit import Fit
from control.scheduler.model import Amounts, NodeInfo
from control.scheduler.neighbors import Place

Scores = Mapping[str, float]  # by node
Pull = Mapping[Place, int]  # the weight of each place, by the wishes of Pods about each other
Score = Callable[[Fit, Sequence[NodeInfo], Pull], Scores]


def taints(fit: Fit, nodes: Sequence[NodeInfo], _: Pull) -> Scores:
    """Prefer nodes with few PreferNoSchedule taints that the Pod does not tolerate."""

    def unwelcome(node: NodeInfo) -> int:
        prefers = (t for t in node.node.spec.taints if t.effect == "PreferNoSchedule")
        return sum(not any(tolerates(x, t) for x in fit.info.pod.spec.tolerations) for t in prefers)

    return _normalized({node.name: unwelcome(node) for node in nodes}, reverse=True)


def affinity(fit: Fit, nodes: Sequence[NodeInfo], _: Pull) -> Scores:
    """Prefer nodes that match more of the preferred node affinity."""
    return _normalized({node.name: preference(fit.info.pod, node.node) for node in nodes})


def spread(fit: Fit, nodes: Sequence[NodeInfo], _: Pull) -> Scores:
    """Prefer nodes in domains with fewer of the counted Pods."""
    soft = [item for item in fit.spreads if not item.constraint.hard]
    if not soft:
        return {}
    crowds = {node.name: sum(item.crowd(node) for item in soft) for node in nodes}
    most, least = max(crowds.values()), min(crowds.values())
    return {n: 100 * (most + least - c) / most if most else 100 for n, c in crowds.items()}


def neighbors(_: Fit, nodes: Sequence[NodeInfo], pull: Pull) -> Scores:
    """Prefer nodes in places that the affinity of this Pod and of placed ones weighs more."""
    if not pull:
        return {}
    raw = {n.name: sum(pull.get(at, 0) for at in n.node.metadata.labels.items()) for n in nodes}
    least, most = min(0, *raw.values()), max(0, *raw.values())
    return {name: 100 * (sum_ - least) / (most - least or 1) for name, sum_ in raw.items()}


def least_allocated(fit: Fit, nodes: Sequence[NodeInfo], _: Pull) -> Scores:
    """Prefer nodes with more free CPU and memory."""
    wanted = fit.info.guessed
    shares = ((node.name, _shares(node, node.guessed, wanted)) for node in nodes)
    return {name: 100 * (1 - (cpu + memory) / 2) for name, (cpu, memory) in shares}


def balanced(fit: Fit, nodes: Sequence[NodeInfo], _: Pull) -> Scores:
    """Prefer nodes with similar used shares of CPU and memory."""
    wanted = fit.info.requests
    shares = ((node.name, _shares(node, node.requested, wanted)) for node in nodes)
    # Half the difference of two values is their standard deviation.
    return {name: 100 * (1 - abs(cpu - memory) / 2) for name, (cpu, memory) in shares}


def _shares(node: NodeInfo, used: Amounts, wanted: Amounts) -> tuple[float, float]:
    """Return the used shares of a node's CPU and memory, with the Pod on it."""
    return _share("cpu", node, used, wanted), _share("memory", node, used, wanted)


def _share(resource: str, node: NodeInfo, used: Amounts, wanted: Amounts) -> float:
    whole = node.allocatable.get(resource, 0)
    if not whole:
        return 1.0
    share = (used.get(resource, 0) + wanted.get(resource, 0)) / whole
    return share if share < 1.0 else 1.0


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
    (neighbors, 2),
    (least_allocated, 1),
    (balanced, 1),
)


def best(fit: Fit, nodes: Sequence[NodeInfo], pull: Pull) -> list[str]:
    """Return the node of the highest score, or all nodes that share it."""
    totals = {node.name: 0.0 for node in nodes}
    for score, weight in SCORES:
        _accumulate(totals, score(fit, nodes, pull), weight)
    top = max(totals.values())
    return [name for name, total in totals.items() if total >= top - 1e-6]


def _accumulate(totals: dict[str, float], scores: Scores, weight: int) -> None:
    for name, score in scores.items():
        totals[name] += weight * score
