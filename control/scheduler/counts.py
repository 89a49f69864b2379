"""What the scheduler counts, by upstream's names.

Source: k8s.io/kubernetes/pkg/scheduler/metrics
"""

from control.metrics import Registry, exponential
from control.scheduler.queue import SchedulingQueue

_BUCKETS = exponential(0.001, 2, 20)


class Counts:
    """The tries to place a Pod, and the Pods that wait."""

    def __init__(self, registry: Registry, profile: str, queue: SchedulingQueue) -> None:
        self._profile = profile
        self._attempts = registry.counter(
            "scheduler_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result.",
            "profile",
            "result",
        )
        self._seconds = registry.histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm)",
            "profile",
            "result",
            buckets=_BUCKETS,
        )
        registry.measured(
            "scheduler_pending_pods",
            "Number of pending pods, by the queue type.",
            "queue",
            read=lambda: {(name,): count for name, count in queue.states().items()},
        )

    def tried(self, *, placed: bool, seconds: float) -> None:
        """Count one try."""
        result = "scheduled" if placed else "unschedulable"
        self._attempts.add(self._profile, result)
        self._seconds.observe(self._profile, result, value=seconds)
