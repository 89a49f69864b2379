"""Node lifecycle: marks and taints silent nodes, and takes their Pods out of service.

https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller. An agent's heartbeats are
its Lease in kube-node-lease and its status. Silence is measured by our own clock: from the last
heartbeat that we saw, or from the API server's return if that is later, because no node can report
without a server. Upstream's limits on evictions by zone are not implemented.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from control.api import kinds
from control.api.cluster import Lease
from control.api.meta import Condition
from control.api.node import Node, Taint
from control.api.pod import Pod
from control.api.times import rfc3339, seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Patch, Report, UpdateStatus
from control.controllers.loop import Source, itself
from control.controllers.nodes.silence import silent
from control.controllers.pods import condition
from control.controllers.state import ClusterState

LEASES = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURES.values()}


@dataclass(frozen=True, slots=True)
class Grace:
    """The seconds for which a node may be silent; ``startup`` is for a new node."""

    monitor: float = 50.0
    startup: float = 60.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat: the node's time stamps, and the time by our clock at which we first saw it."""

    stamp: tuple[str | None, str | None]
    seen: float


def _its_node(_: ClusterState, lease: Lease) -> Iterator[Key]:
    if lease.metadata.namespace == LEASES:
        yield "", lease.metadata.name


class NodeLifecycleController:
    """Marks and taints silent nodes, and removes the taints again."""

    component = "node-controller"
    sources = (Source(kinds.NODE, itself), Source(kinds.LEASE, _its_node))

    def __init__(self, grace: Grace | None = None) -> None:
        self._grace = grace or Grace()
        self._beats: dict[str, Heartbeat] = {}
        self._was_ready: set[str] = set()  # an Event is recorded when these are ready no more

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Mark or taint the node ``key`` by its heartbeats and conditions."""
        node = cluster[kinds.NODE].get(*key)
        if node is None:
            self._beats.pop(key[1], None)
            self._was_ready.discard(key[1])
            return
        beat = self._listen(node, cluster[kinds.LEASE].get(LEASES, key[1]), now)
        beat = replace(beat, seen=max(beat.seen, cluster.contact))
        left = silence_left(node, beat, self._grace, now)
        if left <= 0 and (unknown := silent(node, now)) is not None:
            yield UpdateStatus(
                kinds.NODE, unknown
            )  # comes back as a change; then the taints follow
            return
        yield from _taint(node, now)
        yield from self._tell(node)
        if ready_status(node) == "Unknown":
            yield from _out_of_service(cluster, node, now)
        if left > 0:
            yield Again(left)

    def _tell(self, node: Node) -> Iterator[Action]:
        name = node.metadata.name
        if ready_status(node) == "True":
            self._was_ready.add(name)
        elif name in self._was_ready:
            self._was_ready.discard(name)
            text = f"Node {name} status is now: NodeNotReady"
            yield Report(node, "Normal", "NodeNotReady", text)

    def _listen(self, node: Node, lease: Lease | None, now: float) -> Heartbeat:
        ready = condition(node.status.conditions, "Ready")
        stamp = (
            lease.spec.renew_time if lease else None,
            # Our own "Unknown" is no sign of life.
            ready.last_heartbeat_time if ready and ready.status != "Unknown" else None,
        )
        known = self._beats.get(node.metadata.name)
        if known is None or (known.stamp != stamp and any(stamp)):
            known = Heartbeat(stamp, now)
            self._beats[node.metadata.name] = known
        return known


def ready_status(node: Node) -> str | None:
    """Return True, False or Unknown; None if the node has never reported."""
    found = condition(node.status.conditions, "Ready")
    return found.status if found else None


def silence_left(node: Node, beat: Heartbeat, grace: Grace, now: float) -> float:
    """Return the seconds for which a node may still be silent."""
    if condition(node.status.conditions, "Ready") is None and not any(beat.stamp):
        born = seconds_of(node.metadata.creation_timestamp)
        return max(beat.seen, born or 0.0) + grace.startup - now
    return beat.seen + grace.monitor - now


def _taint(node: Node, now: float) -> Iterator[Action]:
    wanted = taints(node, now)
    if wanted == node.spec.taints:
        return
    yield Patch(
        kinds.NODE,
        node,
        {
            "spec": {"taints": [taint.wire() for taint in wanted] or None},
            "metadata": {"resourceVersion": node.metadata.resource_version},
        },
    )


def taints(node: Node, now: float) -> list[Taint]:
    """Return the taints that a node should have: those of others, and ours by its conditions."""
    wanted = list(_by_condition(node))
    have = {(t.key, t.effect): t for t in node.spec.taints}
    others = [t for t in node.spec.taints if t.key not in _OURS]
    ours = [
        have.get(pair) or Taint(key=pair[0], effect=pair[1], time_added=rfc3339(now))
        for pair in wanted
    ]
    result = others + ours
    # The order has no meaning: keep the present one if only that differs.
    return node.spec.taints if _as_set(result) == _as_set(node.spec.taints) else result


def _as_set(items: list[Taint]) -> set[tuple[str, str, str | None]]:
    return {(t.key, t.effect, t.value) for t in items}


def _by_condition(node: Node) -> Iterator[tuple[str, str]]:
    ready = ready_status(node)
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        yield key, "NoSchedule"
        if ready is not None:  # a node that has never reported has no Pods to evict
            yield key, "NoExecute"
    for kind, key in _PRESSURES.items():
        found = condition(node.status.conditions, kind)
        if found is not None and found.status == "True":
            yield key, "NoSchedule"
    if node.spec.unschedulable:
        yield UNSCHEDULABLE, "NoSchedule"


def _out_of_service(cluster: ClusterState, node: Node, now: float) -> Iterator[Action]:
    """Mark a silent node's Pods as not ready, because their state is unknown."""
    for pod in cluster[kinds.POD].on_node(node.metadata.name):
        ready = condition(pod.status.conditions, "Ready")
        if ready is not None and ready.status == "True":
            yield UpdateStatus(kinds.POD, _not_ready(pod, ready, now))
            yield Report(pod, "Warning", "NodeNotReady", "Node is not ready")


def _not_ready(pod: Pod, ready: Condition, now: float) -> Pod:
    changed = ready.model_copy(
        update={"status": "False", "last_transition_time": rfc3339(now), "reason": "NodeNotReady"}
    )
    conditions = [changed if c.type == "Ready" else c for c in pod.status.conditions]
    status = pod.status.model_copy(update={"conditions": conditions})
    return pod.model_copy(update={"status": status})
