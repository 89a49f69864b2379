"""Whether nodes can take one Pod: the filters of a node, and what is counted over all nodes. Pure.

The counts (spread, neighbors) are made once for each try, and follow when a caller takes Pods away
or adds some to see what would be then. Order and texts are upstream's: filters, spread, neighbors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from control.api.selectors import Labels
from control.scheduler import filters, neighbors, spread
from control.scheduler.model import NodeInfo, PodInfo, Refusal
from control.scheduler.neighbors import Neighbors
from control.scheduler.spread import Spread
from control.scheduler.storage import PodVolumes
from control.scheduler.terms import Namespaces


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a Pod is placed into, beside the nodes.

    ``siblings`` selects the Pods from which the Pod is kept apart if its spec has no constraints of
    its own. ``nominated`` has, by node, the Pods for which others were made to leave it.
    ``volumes`` are those of the Pod, if it has claims.
    """

    namespaces: Namespaces = field(default_factory=dict)
    siblings: Labels | None = None
    nominated: Mapping[str, Mapping[str, PodInfo]] = field(default_factory=dict)
    volumes: PodVolumes | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """One Pod, and the counts over all nodes that decide where it fits."""

    info: PodInfo
    spreads: Sequence[Spread]
    neighbors: Neighbors
    nominated: Mapping[str, Mapping[str, PodInfo]]
    volumes: PodVolumes | None = None

    def refusal(self, node: NodeInfo) -> Refusal | None:
        """Return why a node cannot take the Pod, also once the Pods before it have come."""
        before = self._before(node)
        if not before:
            return self._refusal(node)
        with self.changed(node, before, 1) as fuller:
            against = self._refusal(fuller)
        return against or self._refusal(node)

    @contextmanager
    def changed(self, node: NodeInfo, others: Iterable[PodInfo], by: int) -> Iterator[NodeInfo]:
        """Yield the node with Pods added (``by`` 1) or taken away (-1); the counts follow."""
        others, made = list(others), node.copy()
        for other in others:
            self.move(made, other, by)
        try:
            yield made
        finally:
            for other in others:
                self._count(made, other, -by)

    def move(self, node: NodeInfo, other: PodInfo, by: int) -> None:
        """Add a Pod to a copy of a node, or take it away."""
        if by > 0:
            node.add(other)
        else:
            node.remove(other.pod.metadata.uid)
        self._count(node, other, by)

    def _count(self, node: NodeInfo, other: PodInfo, by: int) -> None:
        self.neighbors.count(other, node, by)
        for item in self.spreads:
            item.count(other, node, by)

    def _refusal(self, node: NodeInfo) -> Refusal | None:
        return (
            filters.refusal(self.info, node)
            or (self.volumes.refusal(node) if self.volumes else None)
            or self._skewed(node)
            or self.neighbors.refusal(node)
        )

    def _skewed(self, node: NodeInfo) -> Refusal | None:
        hard = (item for item in self.spreads if item.constraint.hard)
        return next((against for item in hard if (against := item.refusal(node))), None)

    def _before(self, node: NodeInfo) -> list[PodInfo]:
        """The Pods that are nominated for a node and not less urgent than this one."""
        waiting = self.nominated.get(node.name)
        if not waiting:
            return []
        own, priority = self.info.pod.metadata.uid, self.info.priority
        return [it for uid, it in waiting.items() if uid != own and it.priority >= priority]


def measure(info: PodInfo, nodes: Sequence[NodeInfo], around: Surroundings) -> Fit:
    """Count over all nodes what decides where a Pod fits."""
    return Fit(
        info=info,
        spreads=spread.measure(info.pod, spread.constraints(info.pod, around.siblings), nodes),
        neighbors=neighbors.measure(info, nodes, around.namespaces),
        nominated=around.nominated,
        volumes=around.volumes,
    )
