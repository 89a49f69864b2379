"""Ends Pods that have no agent: those of deleted nodes, and deleted Pods without a node.

As upstream's pod garbage collector: a node must be absent for a while, because Pods may arrive
before their node.
"""

from collections.abc import Iterator
from typing import Any

from control.api import kinds
from control.api.meta import Condition
from control.api.node import Node
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete, Patch
from control.controllers.loop import Source, itself
from control.controllers.pods import condition
from control.controllers.state import ClusterState


def _on_it(cluster: ClusterState, node: Node) -> Iterator[Key]:
    for pod in cluster[kinds.POD].on_node(node.metadata.name):
        yield pod.key


def _came_or_went(old: Node | None, new: Node | None) -> bool:
    return old is None or new is None


class PodGarbageCollector:
    """Ends Pods that have no agent."""

    component = "pod-garbage-collector-controller"
    sources = (Source(kinds.POD, itself), Source(kinds.NODE, _on_it, _came_or_went))

    def __init__(self, quarantine: float = 40.0) -> None:
        """``quarantine`` is the number of seconds for which a node must be absent."""
        self._quarantine = quarantine
        self._missed: dict[str, float] = {}  # absent node -> time since which it is absent

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """End the Pod ``key`` if it has no agent."""
        pod = cluster[kinds.POD].get(*key)
        if pod is None:
            return
        node = pod.spec.node_name
        if not node:
            if pod.metadata.deletion_timestamp is not None:
                yield Delete(kinds.POD, pod, grace_period_seconds=0)
            return
        if cluster[kinds.NODE].get(None, node) is not None:
            self._missed.pop(node, None)
            return
        left = self._missed.setdefault(node, now) + self._quarantine - now
        if left > 0:
            yield Again(left)
        else:
            yield from _end(pod, now)


def _end(pod: Pod, now: float) -> Iterator[Action]:
    """Mark a Pod as failed, then delete it."""
    if pod.status.phase not in ("Succeeded", "Failed"):
        # Upstream lets the collector patch Pods' status, not update it.
        status = _failed(pod, now)
        yield Patch(kinds.POD, pod, {"status": status}, "strategic", "status")
    yield Delete(kinds.POD, pod, grace_period_seconds=0)


def _failed(pod: Pod, now: float) -> dict[str, Any]:
    """Return the change of a Pod's status."""
    change: dict[str, Any] = {"phase": "Failed"}
    if condition(pod.status.conditions, "DisruptionTarget") is None:
        target = Condition(
            type="DisruptionTarget",
            status="True",
            reason="DeletionByPodGC",
            message="PodGC: node no longer exists",
            last_transition_time=rfc3339(now),
        )
        change["conditions"] = [target.wire()]
    return change
