"""Deployment, ReplicaSet, ReplicationController, DaemonSet and ControllerRevision."""

from typing import Any

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, LabelSelector, Object, ObjectMeta
from control.api.pod import PodSpec


class PodTemplateSpec(Model):
    """The template of a workload's Pods."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: PodSpec = Field(default_factory=PodSpec)


class RollingUpdate(Model):
    """The Pods that an update may add or remove at once: numbers or percentages."""

    max_surge: Int32 | str | None = None
    max_unavailable: Int32 | str | None = None


class UpdateStrategy(Model):
    """The update strategy: RollingUpdate, Recreate (Deployment) or OnDelete (DaemonSet)."""

    type: str | None = None
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Model):
    """The desired state of a Deployment."""

    replicas: Int32 | None = None
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    strategy: UpdateStrategy = Field(default_factory=UpdateStrategy)
    min_ready_seconds: Int32 | None = None
    revision_history_limit: Int32 | None = None
    progress_deadline_seconds: Int32 | None = None
    paused: bool | None = None


class DeploymentStatus(Model):
    """The numbers of Pods, as the controller counts them."""

    observed_generation: int | None = None
    replicas: Int32 | None = None
    updated_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    unavailable_replicas: int | None = None
    terminating_replicas: int | None = None
    conditions: list[Condition] = []
    collision_count: int | None = None


class Deployment(Object):
    """apps/v1 Deployment."""

    spec: DeploymentSpec = Field(default_factory=DeploymentSpec)
    status: DeploymentStatus = Field(default_factory=DeploymentStatus)


class ReplicaSetSpec(Model):
    """The desired state of a ReplicaSet."""

    replicas: Int32 | None = None
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    min_ready_seconds: Int32 | None = None


class ReplicaSetStatus(Model):
    """The numbers of Pods, as the controller counts them."""

    observed_generation: int | None = None
    replicas: Int32 | None = None
    fully_labeled_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    terminating_replicas: int | None = None
    conditions: list[Condition] = []


class ReplicaSet(Object):
    """apps/v1 ReplicaSet."""

    spec: ReplicaSetSpec = Field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = Field(default_factory=ReplicaSetStatus)


class ReplicationControllerSpec(Model):
    """The desired state of a ReplicationController."""

    replicas: Int32 | None = None
    selector: dict[str, str] = {}
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    min_ready_seconds: Int32 | None = None


class ReplicationController(Object):
    """core/v1 ReplicationController: a ReplicaSet's elder."""

    spec: ReplicationControllerSpec = Field(default_factory=ReplicationControllerSpec)
    status: ReplicaSetStatus = Field(default_factory=ReplicaSetStatus)


class DaemonSetSpec(Model):
    """The desired state of a DaemonSet."""

    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    update_strategy: UpdateStrategy = Field(default_factory=UpdateStrategy)
    min_ready_seconds: Int32 | None = None
    revision_history_limit: Int32 | None = None


class DaemonSetStatus(Model):
    """The numbers of Pods, as the controller counts them."""

    observed_generation: int | None = None
    current_number_scheduled: int | None = None
    number_misscheduled: int | None = None
    desired_number_scheduled: int | None = None
    number_ready: int | None = None
    updated_number_scheduled: int | None = None
    number_available: int | None = None
    number_unavailable: int | None = None
    conditions: list[Condition] = []
    collision_count: int | None = None


class DaemonSet(Object):
    """apps/v1 DaemonSet."""

    spec: DaemonSetSpec = Field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = Field(default_factory=DaemonSetStatus)


class OrderedUpdate(Model):
    """Pods below ``partition`` keep their version; ``max_unavailable`` may be away at once."""

    partition: Int32 | None = None
    max_unavailable: int | str | None = None


class OrderedStrategy(Model):
    """``type`` is RollingUpdate or OnDelete."""

    type: str | None = None
    rolling_update: OrderedUpdate | None = None


class Ordinals(Model):
    """The number of the first Pod."""

    start: Int32 = 0


class StatefulSetSpec(Model):
    """The desired state of a StatefulSet; ``volume_claim_templates`` are whole claims."""

    replicas: Int32 | None = None
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    volume_claim_templates: list[dict[str, Any]] = []
    service_name: str | None = None
    pod_management_policy: str | None = None
    update_strategy: OrderedStrategy = Field(default_factory=OrderedStrategy)
    revision_history_limit: Int32 | None = None
    min_ready_seconds: Int32 | None = None
    persistent_volume_claim_retention_policy: dict[str, str] | None = None
    ordinals: Ordinals | None = None


class StatefulSetStatus(Model):
    """The numbers of Pods, and the names of the two revisions that they may have."""

    observed_generation: int | None = None
    replicas: Int32 = 0
    ready_replicas: int | None = None
    current_replicas: int | None = None
    updated_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    collision_count: int | None = None
    conditions: list[Condition] = []
    available_replicas: int | None = None


class StatefulSet(Object):
    """apps/v1 StatefulSet."""

    spec: StatefulSetSpec = Field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = Field(default_factory=StatefulSetStatus)


class ControllerRevision(Object):
    """apps/v1 ControllerRevision: one template of a DaemonSet or StatefulSet."""

    data: dict[str, Any] | None = None
    revision: int = 0
