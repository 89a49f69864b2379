"""The metrics of the controllers' queues, by client-go's names.

Source: k8s.io/component-base/metrics/prometheus/workqueue
"""

from collections.abc import Mapping
from typing import Any

from control.controllers.queue import WorkQueue
from control.metrics import Histogram, Registry, exponential

_BUCKETS = exponential(1e-8, 10, 10)
Queues = Mapping[str, WorkQueue[Any]]


def measure(registry: Registry, queues: Queues) -> Histogram:
    """Register the metrics of queues by name; return the one of how long work takes."""
    registry.measured(
        "workqueue_depth",
        "Current depth of workqueue",
        "name",
        read=lambda: {(name,): len(queue) for name, queue in queues.items()},
    )
    registry.measured(
        "workqueue_adds_total",
        "Total number of adds handled by workqueue",
        "name",
        read=lambda: {(name,): queue.added for name, queue in queues.items()},
        kind="counter",
    )
    registry.measured(
        "workqueue_retries_total",
        "Total number of retries handled by workqueue",
        "name",
        read=lambda: {(name,): queue.retried for name, queue in queues.items()},
        kind="counter",
    )
    return registry.histogram(
        "workqueue_work_duration_seconds",
        "How long in seconds processing an item from workqueue takes.",
        "name",
        buckets=_BUCKETS,
    )
