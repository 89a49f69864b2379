"""autoscaling/v2 HorizontalPodAutoscaler."""

from typing import Any

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, Object

Amount = str | int | float


class ScaleTarget(Model):
    """The workload that is scaled."""

    api_version: str | None = None
    kind: str = ""
    name: str = ""


class MetricTarget(Model):
    """How much there should be: Utilization (percent of requests), Value or AverageValue."""

    type: str = ""
    value: Amount | None = None
    average_value: Amount | None = None
    average_utilization: Int32 | None = None


class ResourceMetric(Model):
    """A resource of Pods; ``container`` is set for one container's."""

    name: str = ""
    container: str | None = None
    target: MetricTarget = Field(default_factory=MetricTarget)


class MetricIdentifier(Model):
    """A metric of custom.metrics.k8s.io or external.metrics.k8s.io."""

    name: str = ""
    selector: dict[str, Any] | None = None


class OtherMetric(Model):
    """A metric of Pods, of an object, or from outside."""

    metric: MetricIdentifier = Field(default_factory=MetricIdentifier)
    target: MetricTarget = Field(default_factory=MetricTarget)
    described_object: ScaleTarget | None = None


class MetricSpec(Model):
    """One metric; the field that ``type`` names is set."""

    type: str = ""
    resource: ResourceMetric | None = None
    container_resource: ResourceMetric | None = None
    pods: OtherMetric | None = None
    object: OtherMetric | None = None
    external: OtherMetric | None = None


class ScalingPolicy(Model):
    """How many Pods, or percent, may come or go in a period."""

    type: str = ""
    value: Int32 = 0
    period_seconds: Int32 = 0


class ScalingRules(Model):
    """How fast to scale in one direction."""

    stabilization_window_seconds: Int32 | None = None
    select_policy: str | None = None
    policies: list[ScalingPolicy] = []
    tolerance: Amount | None = None


class ScalingBehavior(Model):
    """How fast to scale."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class AutoscalerSpec(Model):
    """What to scale, between which numbers, by which metrics."""

    scale_target_ref: ScaleTarget = Field(default_factory=ScaleTarget)
    min_replicas: Int32 | None = None
    max_replicas: Int32 = 0
    metrics: list[MetricSpec] = []
    behavior: ScalingBehavior | None = None


class AutoscalerStatus(Model):
    """What the controller saw and decided."""

    observed_generation: int | None = None
    last_scale_time: str | None = None
    current_replicas: Int32 | None = None
    desired_replicas: Int32 = 0
    current_metrics: list[dict[str, Any]] = []
    conditions: list[Condition] = []


class HorizontalPodAutoscaler(Object):
    """autoscaling/v2 HorizontalPodAutoscaler."""

    spec: AutoscalerSpec = Field(default_factory=AutoscalerSpec)
    status: AutoscalerStatus = Field(default_factory=AutoscalerStatus)
