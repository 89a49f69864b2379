"""ReplicaSets and ReplicationControllers: keep the wanted number of Pods.

The two differ in their names and in the form of their selector only.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import Condition, LabelSelector, ObjectMeta
from control.api.pod import Pod
from control.api.selectors import Labels, Requirement
from control.api.times import rfc3339
from control.api.workload import (
    PodTemplateSpec,
    ReplicaSet,
    ReplicaSetStatus,
    ReplicationController,
)
from control.client import ApiError
from control.client.cache import Key
from control.controllers.actions import Action, Again, Create, Delete, UpdateStatus
from control.controllers.claim import OwnershipClaim, claim, interested, selector_of
from control.controllers.loop import Source, itself
from control.controllers.pods import condition, deletion_order, is_active, tally
from control.controllers.state import ClusterState, controller_of, owner_reference

_BURST = 500  # Pods made or deleted in one round, as upstream


Replicated = ReplicaSet | ReplicationController


class _ReplicaController:
    """Creates, deletes, adopts and counts the Pods of the objects of one kind."""

    def __init__(self, kind: Kind[Replicated], component: str) -> None:
        self._kind = kind
        self.component = component
        self.sources = (
            Source(kind, itself),
            Source(kinds.POD, lambda cluster, pod: interested(kind, pod, cluster)),
        )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return actions for ownership, or else for the number of Pods, or else for the status."""
        rs = cluster[self._kind].get(*key)
        if rs is None:
            return
        claimed = self._claim(cluster, rs)
        changes: list[Action] = list(claimed.actions)
        if not changes and rs.metadata.deletion_timestamp is None:
            changes = _scale(cluster, self._kind, rs, claimed.owned, now)
        if changes:
            yield from changes  # their effects come back as changes; then the status is due
            return
        yield from _report(self._kind, rs, claimed.owned, now, failure=None)

    def refused(
        self, cluster: ClusterState, key: Key, now: float, error: ApiError
    ) -> Iterable[Action]:
        """Show in the status that Pods cannot be created or deleted."""
        rs = cluster[self._kind].get(*key)
        if rs is None or rs.metadata.deletion_timestamp is not None:
            return ()
        pods = self._claim(cluster, rs).owned
        reason = "FailedDelete" if error.operation.verb == "delete" else "FailedCreate"
        failure = Condition(
            type="ReplicaFailure",
            status="True",
            reason=reason,
            message=error.status.message,
            last_transition_time=rfc3339(now),
        )
        return _report(self._kind, rs, pods, now, failure)

    def _claim(self, cluster: ClusterState, rs: Replicated) -> OwnershipClaim[Pod]:
        selector = selector_of(rs.spec.selector) or LabelSelector()
        return claim(cluster[kinds.POD], self._kind, rs, selector)


class ReplicaSetController(_ReplicaController):
    """The controller of ReplicaSets."""

    def __init__(self) -> None:
        super().__init__(kinds.REPLICA_SET, "replicaset-controller")


class ReplicationControllerController(_ReplicaController):
    """The controller of ReplicationControllers."""

    def __init__(self) -> None:
        super().__init__(kinds.REPLICATION_CONTROLLER, "replication-controller")


def _scale(
    cluster: ClusterState, kind: Kind, rs: Replicated, pods: Sequence[Pod], now: float
) -> list[Action]:
    active = [pod for pod in pods if is_active(pod)]
    missing = (1 if rs.spec.replicas is None else rs.spec.replicas) - len(active)
    if missing >= 0:
        new = pod_from(rs.spec.template, kind, rs)
        return [Create(kinds.POD, new, announce=rs)] * min(missing, _BURST)
    kin = Counter(pod.spec.node_name or "" for pod in _kin(cluster, rs) if is_active(pod))
    victims = deletion_order(active, kin, now)[: min(-missing, _BURST)]
    return [Delete(kinds.POD, pod, announce=rs) for pod in victims]


def _kin(cluster: ClusterState, rs: Replicated) -> Iterable[Pod]:
    """Yield the Pods of this set and of all others of its Deployment.

    An old version's Pods should go first from nodes that already have a new version's Pod.
    """
    owner = controller_of(rs)
    siblings: Sequence[Replicated] = [rs]
    if owner is not None and isinstance(rs, ReplicaSet):
        siblings = cluster[kinds.REPLICA_SET].controlled_by(owner.uid)
    for sibling in siblings:
        yield from cluster[kinds.POD].controlled_by(sibling.metadata.uid)


def pod_from(template: PodTemplateSpec, kind: Kind, owner: Replicated) -> Pod:
    """Return a Pod of a template, without a name."""
    meta = template.metadata
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{owner.metadata.name}-",
            namespace=owner.metadata.namespace,
            labels=meta.labels,
            annotations=meta.annotations,
            finalizers=meta.finalizers,
            owner_references=[owner_reference(kind, owner)],
        ),
        spec=template.spec,
    )


def _report(
    kind: Kind, rs: Replicated, pods: Sequence[Pod], now: float, failure: Condition | None
) -> Iterator[Action]:
    status = _status(rs, pods, now, failure)
    if status != rs.status:
        yield UpdateStatus(kind, rs.model_copy(update={"status": status}))
    wait = tally(pods, rs.spec.min_ready_seconds or 0, now).next_available
    if wait is not None:
        yield Again(wait)


def _status(
    rs: Replicated, pods: Sequence[Pod], now: float, failure: Condition | None
) -> ReplicaSetStatus:
    counts = tally(pods, rs.spec.min_ready_seconds or 0, now)
    template = Labels(
        tuple(
            Requirement(k, "In", frozenset([v]))
            for k, v in rs.spec.template.metadata.labels.items()
        )
    )
    labeled = sum(is_active(pod) and template.matches(pod.metadata.labels) for pod in pods)
    # Zero counts are left out, as upstream does, except `replicas`.
    change: dict[str, Any] = {
        "observed_generation": rs.metadata.generation,
        "replicas": counts.active,
        "fully_labeled_replicas": labeled or None,
        "ready_replicas": counts.ready or None,
        "available_replicas": counts.available or None,
    }
    conditions = _conditions(rs.status.conditions, failure)
    if conditions != rs.status.conditions:
        change["conditions"] = conditions
    return rs.status.model_copy(update=change)


def _conditions(now: Sequence[Condition], failure: Condition | None) -> list[Condition]:
    others = [item for item in now if item.type != "ReplicaFailure"]
    known = condition(now, "ReplicaFailure")
    if failure is None:
        return others
    if known and (known.reason, known.message) == (failure.reason, failure.message):
        failure = known
    return [*others, failure]
