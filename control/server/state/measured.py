"""What nodes and containers use: the last two samples of each, and what follows from them.

As metrics-server (https://github.com/kubernetes-sigs/metrics-server, pkg/storage): the use of CPU
is an average between two samples; of a container that has just started, since its start.
"""

from collections.abc import Mapping

from msgspec import Struct, field

# Seconds after which a container's first sample says something about its use of CPU.
_FRESH = 10.0
Pod = tuple[str, str]  # namespace, name


class Sample(Struct, frozen=True):
    """A measurement: seconds of CPU since ``start``, bytes of memory, at a time."""

    at: float
    cpu: float
    memory: int
    start: float = 0.0


class NodeSamples(Struct, frozen=True):
    """The measurements of a node and its containers, by Pod and by name."""

    node: Sample
    pods: Mapping[Pod, Mapping[str, Sample]] = field(default_factory=dict)


class Use(Struct, frozen=True):
    """What is used: cores and bytes, at a time, over the seconds before it."""

    at: float
    window: float
    cores: float
    memory: int


class Measured:
    """The samples of all nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[NodeSamples | None, NodeSamples]] = {}

    def take(self, node: str, samples: NodeSamples) -> None:
        """Keep a node's samples, and the ones before them."""
        before = self._nodes.get(node)
        last = before[1] if before else None
        if last is None or samples.node.at > last.node.at:
            self._nodes[node] = last, samples

    def forget(self, node: str) -> None:
        """Drop the samples of a node that does not answer, or is gone."""
        self._nodes.pop(node, None)

    def names(self) -> frozenset[str]:
        """Return the nodes that have samples."""
        return frozenset(self._nodes)

    def node(self, name: str) -> Use | None:
        """Return what a node uses, if that is known."""
        found = self._nodes.get(name)
        if found is None:
            return None
        before, now = found
        return _use(before.node if before else None, now.node)

    def pod(self, node: str, key: Pod) -> dict[str, Use]:
        """Return what the containers of a Pod on a node use; empty if that is not known of all."""
        found = self._nodes.get(node)
        if found is None:
            return {}
        before, now = found
        then: Mapping[str, Sample] = before.pods.get(key, {}) if before else {}
        used = {
            name: _use(then.get(name), sample) for name, sample in now.pods.get(key, {}).items()
        }
        known = {name: use for name, use in used.items() if use is not None}
        return known if len(known) == len(used) else {}


def _use(before: Sample | None, now: Sample) -> Use | None:
    if before is None or before.start != now.start or now.cpu < before.cpu:
        if not now.start or now.at - now.start < _FRESH:
            return None
        before = Sample(now.start, 0.0, 0, now.start)
    window = now.at - before.at
    if window <= 0:
        return None
    return Use(now.at, window, (now.cpu - before.cpu) / window, now.memory)
