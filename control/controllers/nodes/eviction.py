"""Taint-based eviction: deletes Pods that do not tolerate a NoExecute taint, at once or later.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions.
tolerationSeconds count from when this controller sees the taint at first, and not from its
``timeAdded``, as upstream does (pkg/controller/tainteviction): where a whole cluster was off for a
night, nodes get that time to come back.
"""

import math
from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.meta import Condition
from control.api.node import Taint
from control.api.placement import Toleration
from control.api.pod import Pod
from control.api.scheduling import tolerates
from control.api.times import rfc3339
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

    def __init__(self) -> None:
        self._due: dict[str, dict[str, float]] = {}  # node -> UID of a Pod -> when it is to go

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Evict Pods of the node ``key`` that are due."""
        known = self._due.pop(key[1], {})
        node = cluster[kinds.NODE].get(*key)
        if node is None:
            return
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
        pods = {
            pod.metadata.uid or "": pod
            for pod in cluster[kinds.POD].on_node(node.metadata.name)
            if pod.metadata.deletion_timestamp is None
        }
        due = {
            uid: min(now + stays, known.get(uid, math.inf))
            for uid, pod in pods.items()
            if (stays := stays_for(taints, pod.spec.tolerations)) is not None
        }
        if due:  # kept before anything is done, which may fail
            self._due[node.metadata.name] = due
        for uid, pod in pods.items():
            if uid in due or uid in known:
                yield from _act(pod, due.get(uid), now)


def _act(pod: Pod, due: float | None, now: float) -> Iterator[Action]:
    """Evict a Pod that is due, wait for a time that is to come, and say if none is any more."""
    if due is None:
        text = f"Cancelling deletion of Pod {pod.metadata.namespace}/{pod.metadata.name}"
        yield Report(pod, "Normal", "TaintManagerEviction", text)
    elif due > now:
        yield Again(due - now)
    else:
        yield from _evict(pod, now)


def stays_for(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> float | None:
    """Return the seconds for which a Pod may stay under NoExecute taints; None if for ever.

    Of a taint the first toleration that fits counts (GetMatchingTolerations in
    pkg/apis/core/v1/helper).
    """
    lengths: list[float] = []
    for taint in taints:
        first = next((item for item in tolerations if tolerates(item, taint)), None)
        if first is None:
            return 0.0
        if first.toleration_seconds is not None:
            lengths.append(first.toleration_seconds)
    return max(0.0, min(lengths)) if lengths else None


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
