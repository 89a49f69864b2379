"""Reconciles Deployments: ReplicaSets of the right sizes, one step at a time."""

from collections.abc import Iterator

from control.api import kinds
from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import rfc3339
from control.api.workload import Deployment, ReplicaSet
from control.client import ApiError
from control.client.cache import Key
from control.controllers.actions import (
    Action,
    Again,
    Create,
    Delete,
    Report,
    Update,
    UpdateStatus,
)
from control.controllers.claim import claim, interested
from control.controllers.deployment import history, rollout
from control.controllers.deployment.history import Versions
from control.controllers.deployment.limits import Limits, limits
from control.controllers.deployment.status import overdue_in, status_of
from control.controllers.loop import Source, itself
from control.controllers.pods import condition, is_active, tally
from control.controllers.state import ClusterState, controller_of


def _deployment_of_pod(cluster: ClusterState, pod: Pod) -> Iterator[Key]:
    owner = controller_of(pod)
    if owner is None or owner.kind != "ReplicaSet":
        return
    rs = cluster[kinds.REPLICA_SET].get(pod.metadata.namespace, owner.name)
    above = controller_of(rs) if rs else None
    if above is not None and above.kind == "Deployment":
        yield pod.metadata.namespace or "", above.name


class DeploymentController:
    """Rolls out versions of Deployments."""

    component = "deployment-controller"
    sources = (
        Source(kinds.DEPLOYMENT, itself),
        Source(kinds.REPLICA_SET, lambda cluster, rs: interested(kinds.DEPLOYMENT, rs, cluster)),
        Source(kinds.POD, _deployment_of_pod),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return the next step; its effects come back as changes, and lead to the next one."""
        deployment = cluster[kinds.DEPLOYMENT].get(*key)
        if deployment is None:
            return
        sets = cluster[kinds.REPLICA_SET]
        claimed = claim(sets, kinds.DEPLOYMENT, deployment, deployment.spec.selector)
        found = history.versions(deployment, claimed.owned)
        steps: list[Action] = list(claimed.actions)
        if not steps and deployment.metadata.deletion_timestamp is None:
            steps = _Step(cluster, deployment, found, now).actions()
        if steps:
            yield from steps
            return
        yield from _report(deployment, found, now)

    def refused(
        self, cluster: ClusterState, key: Key, now: float, error: ApiError
    ) -> Iterator[Action]:
        """Show in the status, and by an Event, that a version cannot be created."""
        deployment = cluster[kinds.DEPLOYMENT].get(*key)
        if deployment is None or (error.operation.verb, error.operation.kind) != (
            "create",
            "ReplicaSet",
        ):
            return
        text = f'Failed to create new replica set "{error.operation.name}": {error.status.message}'
        yield Report(deployment, "Warning", "ReplicaSetCreateError", text)
        known = condition(deployment.status.conditions, "Progressing")
        if known is None or (known.reason, known.message) != ("ReplicaSetCreateError", text):
            yield _with_failure(deployment, text, now)


def _with_failure(deployment: Deployment, text: str, now: float) -> UpdateStatus:
    failed = Condition(
        type="Progressing",
        status="False",
        reason="ReplicaSetCreateError",
        message=text,
        last_update_time=rfc3339(now),
        last_transition_time=rfc3339(now),
    )
    others = [c for c in deployment.status.conditions if c.type != "Progressing"]
    status = deployment.status.model_copy(update={"conditions": [*others, failed]})
    return UpdateStatus(kinds.DEPLOYMENT, deployment.model_copy(update={"status": status}))


class _Step:
    """The next step of one Deployment."""

    def __init__(
        self, cluster: ClusterState, deployment: Deployment, found: Versions, now: float
    ) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self._found = found
        self._bounds: Limits = limits(deployment)
        self._versions = [self._numbers(rs, now) for rs in found.all]
        self._paused = bool(deployment.spec.paused)
        self._recreate = deployment.spec.strategy.type == "Recreate"

    def actions(self) -> list[Action]:
        """Return the due actions; none if only the status may be due."""
        refreshed = history.refreshed(self._deployment, self._found)
        if refreshed is not None:
            return [Update(kinds.REPLICA_SET, refreshed)]
        if self._paused or rollout.needs_scaling(self._versions, self._bounds):
            return [*self._revision(), *self._scale()]
        if self._found.new is None:
            return self._first()
        return [*self._revision(), *self._roll()]

    def _first(self) -> list[Action]:
        """Create the wanted version."""
        if self._recreate and (self._old_pods_run() or any(v.size for v in self._versions)):
            return self._resize({v.name: 0 for v in self._versions if v.size})
        size = rollout.first_size(self._versions, self._bounds)
        new = history.first_version(self._deployment, self._found.old, size, self._bounds)
        if self._cluster[kinds.REPLICA_SET].get(*new.key) is not None:
            return [self._collide()]
        steps: list[Action] = [Create(kinds.REPLICA_SET, new)]
        if size:
            text = f"Scaled up replica set {new.metadata.name} from 0 to {size}"
            steps.append(Report(self._deployment, "Normal", "ScalingReplicaSet", text))
        return steps

    def _collide(self) -> Action:
        """Count a collision: another owner's ReplicaSet, or another template, has the name.

        The next hash, and so the next name, will differ.
        """
        count = (self._deployment.status.collision_count or 0) + 1
        status = self._deployment.status.model_copy(update={"collision_count": count})
        return UpdateStatus(
            kinds.DEPLOYMENT, self._deployment.model_copy(update={"status": status})
        )

    def _revision(self) -> list[Action]:
        """Annotate the Deployment with the revision of its wanted version."""
        new = self._found.new
        if new is None or history.revision(new) == history.revision(self._deployment):
            return []
        meta = self._deployment.metadata
        annotations = meta.annotations | {history.REVISION: str(history.revision(new))}
        noted = meta.model_copy(update={"annotations": annotations})
        # Upstream lets the controller update Deployments, not patch them.
        return [Update(kinds.DEPLOYMENT, self._deployment.model_copy(update={"metadata": noted}))]

    def _scale(self) -> list[Action]:
        sizes = rollout.scale(self._versions, self._bounds, rolling=not self._recreate)
        stale = {v.name: v.size for v in self._versions if self._is_stale(v)}
        return self._resize(stale | sizes)

    def _is_stale(self, version: rollout.Version) -> bool:
        return bool(version.size) and version.scaled_for not in (None, self._bounds.replicas)

    def _roll(self) -> list[Action]:
        if self._recreate:
            old_pods_run = self._old_pods_run()
            sizes = rollout.recreate(self._versions, self._bounds, old_pods_run=old_pods_run)
        else:
            sizes = rollout.roll(self._versions, self._bounds)
        if sizes:
            return self._resize(sizes)
        surplus = history.expendable(self._deployment, self._found.old)
        return [Delete(kinds.REPLICA_SET, rs, "Background") for rs in surplus]

    def _resize(self, sizes: rollout.Sizes) -> list[Action]:
        steps: list[Action] = []
        for rs in self._found.all:
            size = sizes.get(rs.metadata.name)
            if size is None:
                continue
            steps.append(Update(kinds.REPLICA_SET, self._sized(rs, size)))
            before = rs.spec.replicas or 0
            if size != before:
                way = "up" if size > before else "down"
                text = f"Scaled {way} replica set {rs.metadata.name} from {before} to {size}"
                steps.append(Report(self._deployment, "Normal", "ScalingReplicaSet", text))
        return steps

    def _sized(self, rs: ReplicaSet, size: int) -> ReplicaSet:
        annotations = rs.metadata.annotations | history.size_annotations(self._bounds)
        change = {
            "metadata": rs.metadata.model_copy(update={"annotations": annotations}),
            "spec": rs.spec.model_copy(update={"replicas": size}),
        }
        return rs.model_copy(update=change)

    def _old_pods_run(self) -> bool:
        pods = self._cluster[kinds.POD]
        old = (p for rs in self._found.old for p in pods.controlled_by(rs.metadata.uid))
        return any(pod.status.phase not in ("Succeeded", "Failed") for pod in old)

    def _numbers(self, rs: ReplicaSet, now: float) -> rollout.Version:
        pods = self._cluster[kinds.POD].controlled_by(rs.metadata.uid)
        counts = tally(filter(is_active, pods), rs.spec.min_ready_seconds or 0, now)
        return rollout.Version(
            name=rs.metadata.name,
            size=rs.spec.replicas or 0,
            available=counts.available,
            scaled_for=_number(rs, history.DESIRED),
            most=_number(rs, history.MOST),
            created=rs.metadata.creation_timestamp or "",
            wanted=rs is self._found.new,
        )


def _number(rs: ReplicaSet, annotation: str) -> int | None:
    text = rs.metadata.annotations.get(annotation, "")
    return int(text) if text.isdigit() else None


def _report(deployment: Deployment, found: Versions, now: float) -> Iterator[Action]:
    status = status_of(deployment, found, limits(deployment), now)
    if status != deployment.status:
        yield UpdateStatus(kinds.DEPLOYMENT, deployment.model_copy(update={"status": status}))
    left = overdue_in(deployment, condition(status.conditions, "Progressing"), now)
    if left is not None:
        yield Again(max(left, 0) + 1)
