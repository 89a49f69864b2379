"""The metrics of the controllers' queues, by client-go's names.

Source: k8s.io/component-base/metrics/prometheus/workqueue
"""

from collections.abc import Callable, Mapping
from typing import Any

from control.controllers.queue import WorkQueue
from control.metrics import Labels, Registry, exponential

_BUCKETS = exponential(1e-8, 10, 10)
Queues = Mapping[str, WorkQueue[Any]]


class QueueMetrics:
    """Measures the queues in ``queues``, by their names, also those that come later."""

    def __init__(self, registry: Registry, queues: Queues) -> None:
        self._read(registry, queues)
        self.work = registry.histogram(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            "name",
            buckets=_BUCKETS,
        )
        self._wait = registry.histogram(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            "name",
            buckets=_BUCKETS,
        )

    def follow(self, name: str, queue: WorkQueue[Any]) -> None:
        """Measure how long keys wait in a queue."""
        queue.waited = lambda seconds: self._wait.observe(name, value=seconds)

    def _read(self, registry: Registry, queues: Queues) -> None:
        for name, kind, meaning, value in _ROWS:

            def read(value: Callable[[WorkQueue[Any]], float] = value) -> dict[Labels, float]:
                return {(of,): value(queue) for of, queue in queues.items()}

            registry.measured(f"workqueue_{name}", meaning, "name", read=read, kind=kind)


_Row = tuple[str, str, str, Callable[[WorkQueue[Any]], float]]
_ROWS: tuple[_Row, ...] = (
    ("depth", "gauge", "Current depth of workqueue", len),
    (
        "adds_total",
        "counter",
        "Total number of adds handled by workqueue",
        lambda queue: queue.added,
    ),
    (
        "retries_total",
        "counter",
        "Total number of retries handled by workqueue",
        lambda queue: queue.retried,
    ),
    (
        "unfinished_work_seconds",
        "gauge",
        "How many seconds of work has done that is in progress and hasn't been observed by"
        " work_duration. Large values indicate stuck threads. One can deduce the number of stuck"
        " threads by observing the rate at which this increases.",
        lambda queue: sum(queue.worked()),
    ),
    (
        "longest_running_processor_seconds",
        "gauge",
        "How many seconds has the longest running processor for workqueue been running.",
        lambda queue: max(queue.worked(), default=0.0),
    ),
)
