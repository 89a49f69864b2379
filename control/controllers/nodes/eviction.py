"""Taint-based eviction: deletes Pods that do not tolerate a NoExecute taint, at once or later.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions.
tolerationSeconds count from the taint's ``timeAdded``, so that a restart does not prolong them.
"""

from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.meta import Condition
from control.api.node import Taint
from control.api.placement import Toleration
from control.api.pod import Pod
from control.api.scheduling import tolerates
from control.api.times import rfc3339, seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete, Report, UpdateStatus
from control.controllers.loop import Source, itself
from control.controllers.pods import condition
from control.controllers.state import ClusterState


def _its_node(_: ClusterState, pod: Pod) -> Iterator[Key]:
    if pod.spec.node_name:
        yield "", pod.spec.node_name


def _bound(old: Pod | None, new: Pod | None) -> bool:
    """True if a Pod was bound to a node; other changes of Pods do not matter."""
    return new is not None and (old is None or old.spec.node_name != new.spec.node_name)


class TaintEvictionController:
    """Evicts Pods by NoExecute taints."""

    component = "taint-eviction-controller"
    sources = (Source(kinds.NODE, itself), Source(kinds.POD, _its_node, _bound))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Evict Pods of the node ``key`` that are due."""
        node = cluster[kinds.NODE].get(*key)
        if node is None:
            return
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
        if not taints:
            return
        for pod in cluster[kinds.POD].on_node(node.metadata.name):
            if pod.metadata.deletion_timestamp is not None:
                continue
            left = stays_for(taints, pod.spec.tolerations, now)
            if left is not None and left > 0:
                yield Again(left)
            elif left is not None:
                yield from _evict(pod, now)


def stays_for(
    taints: Sequence[Taint], tolerations: Sequence[Toleration], now: float
) -> float | None:
    """Return the seconds for which a Pod may stay under NoExecute taints; None if for ever."""
    shortest: float | None = None
    for taint in taints:
        matching = [item for item in tolerations if tolerates(item, taint)]
        if not matching:
            return 0.0
        limits = [m.toleration_seconds for m in matching if m.toleration_seconds is not None]
        if limits:
            added = seconds_of(taint.time_added)
            left = (now if added is None else added) + min(limits) - now
            shortest = left if shortest is None else min(shortest, left)
    return shortest


def _evict(pod: Pod, now: float) -> Iterator[Action]:
    """Show the reason in a Pod's status, then delete the Pod."""
    if condition(pod.status.conditions, "DisruptionTarget") is None:
        target = Condition(
            type="DisruptionTarget",
            status="True",
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
            last_transition_time=rfc3339(now),
        )
        conditions = [*pod.status.conditions, target]
        status = pod.status.model_copy(update={"conditions": conditions})
        yield UpdateStatus(kinds.POD, pod.model_copy(update={"status": status}))
    text = f"Marking for deletion Pod {pod.metadata.namespace}/{pod.metadata.name}"
    yield Report(pod, "Normal", "TaintManagerEviction", text)
    yield Delete(kinds.POD, pod)
