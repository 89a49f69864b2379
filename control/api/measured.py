"""metrics.k8s.io/v1beta1: what nodes and Pods use now. The kinds are measured, never stored.

Source: k8s.io/metrics/pkg/apis/metrics/v1beta1
"""

from typing import Any

from control.api.base import Model
from control.api.kind import Kind
from control.api.meta import Object

GROUP = "metrics.k8s.io"


class ContainerMetrics(Model):
    """What one container uses: CPU in cores, memory in bytes."""

    name: str = ""
    usage: dict[str, str | int | float] = {}


class PodMetrics(Object):
    """What the containers of a Pod used at ``timestamp``, on average over ``window``."""

    timestamp: str | None = None
    window: str | None = None
    containers: list[ContainerMetrics] = []


class NodeMetrics(Object):
    """What a node used at ``timestamp``, on average over ``window``."""

    timestamp: str | None = None
    window: str | None = None
    usage: dict[str, Any] = {}


NODE_METRICS = Kind(GROUP, "v1beta1", "NodeMetrics", "nodes", NodeMetrics, False)
POD_METRICS = Kind(GROUP, "v1beta1", "PodMetrics", "pods", PodMetrics)
MEASURED: tuple[Kind, ...] = (NODE_METRICS, POD_METRICS)
