"""What the scheduler counts, by upstream's names.

Source: k8s.io/kubernetes/pkg/scheduler/metrics
"""

from control.metrics import Registry, exponential
from control.scheduler.queue import SchedulingQueue, Tries

_BUCKETS = exponential(0.001, 2, 20)
_WHOLE = exponential(0.01, 2, 20)
_ATTEMPTS = exponential(1, 2, 5)
_MANY = 15  # attempts from here on have one label


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
        self._whole = registry.histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "E2e latency for a pod being scheduled, from the time the pod enters the scheduling"
            " queue and might involve multiple scheduling attempts.",
            "attempts",
            buckets=_WHOLE,
        )
        self._needed = registry.histogram(
            "scheduler_pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod.",
            buckets=_ATTEMPTS,
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

    def bound(self, tries: Tries, now: float) -> None:
        """Count a Pod that has its node, from its first try on."""
        label = f"{_MANY}+" if tries.attempts >= _MANY else str(tries.attempts)
        self._whole.observe(label, value=now - tries.first)
        self._needed.observe(value=tries.attempts)
