"""How many Pods a budget's workloads should have, and how many of them must stay. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from control.api import kinds
from control.api.meta import Object, OwnerReference
from control.api.pod import Pod
from control.api.policy import PodDisruptionBudget
from control.controllers.deployment.limits import scaled
from control.controllers.state import ClusterState, controller_of

_KINDS = (kinds.REPLICA_SET, kinds.STATEFUL_SET, kinds.REPLICATION_CONTROLLER)
SCALED: dict[tuple[str, str], kinds.Kind] = {(kind.group, kind.name): kind for kind in _KINDS}


class UncountableError(ValueError):
    """A Pod whose workload has no known scale; the message names it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The Pods that there should be, and that must be healthy; ``unmanaged`` have no workload."""

    pods: int
    healthy: int
    unmanaged: tuple[str, ...] = ()


def expected(cluster: ClusterState, budget: PodDisruptionBudget, pods: list[Pod]) -> Expected:
    """Return what a budget expects of its Pods; raises UncountableError."""
    least, most = budget.spec.min_available, budget.spec.max_unavailable
    if most is not None:
        total, unmanaged = _scale(cluster, pods)
        return Expected(total, max(total - scaled(most, total, up=True), 0), unmanaged)
    if isinstance(least, int):
        return Expected(len(pods), least)
    if least is None:
        return Expected(0, 0)
    total, unmanaged = _scale(cluster, pods)
    return Expected(total, scaled(least, total, up=True), unmanaged)


def _scale(cluster: ClusterState, pods: Iterable[Pod]) -> tuple[int, tuple[str, ...]]:
    """Return the sum of the replicas of the Pods' workloads, and the Pods without one."""
    scales: dict[str, int] = {}
    seen: set[str] = set()
    unmanaged = []
    for pod in pods:
        if (owner := controller_of(pod)) is None:
            unmanaged.append(pod.metadata.name)
        elif owner.uid not in seen:
            seen.add(owner.uid)
            workload = _workload(cluster, pod, owner)
            scales[workload.metadata.uid] = _replicas(workload)
    return sum(scales.values()), tuple(unmanaged)


def _workload(cluster: ClusterState, pod: Pod, owner: OwnerReference) -> Object:
    """Return what has the scale of a Pod: its controller, or the Deployment above it."""
    kind = SCALED.get((owner.api_version.rpartition("/")[0], owner.kind))
    found = cluster[kind].get(pod.metadata.namespace, owner.name) if kind else None
    if found is not None and kind is kinds.REPLICA_SET:
        above = controller_of(found)
        if above is not None and above.kind == kinds.DEPLOYMENT.name:
            owner, found = above, cluster[kinds.DEPLOYMENT].get(pod.metadata.namespace, above.name)
    if found is None or found.metadata.uid != owner.uid:
        raise UncountableError(f'found no controllers for pod "{pod.metadata.name}"')
    return found


def _replicas(workload: Object) -> int:
    spec = workload.wire().get("spec") or {}
    return int(spec.get("replicas", 1))
