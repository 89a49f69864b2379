"""What the agent counts, by kubelet's names, labels and buckets.

Source: k8s.io/kubernetes/pkg/kubelet/metrics and kuberuntime/instrumented_services.go
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from control.metrics import Registry, exponential
from control.runtime.base import Runtime

P = ParamSpec("P")
T = TypeVar("T")

_STARTS = (
    *(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900),
    *(1200, 1800, 2700, 3600),
)


class RuntimeMetrics:
    """Counts what the runtime is asked to do."""

    def __init__(self, registry: Registry) -> None:
        self._total = registry.counter(
            "kubelet_runtime_operations_total",
            "Cumulative number of runtime operations by operation type.",
            "operation_type",
        )
        self._errors = registry.counter(
            "kubelet_runtime_operations_errors_total",
            "Cumulative number of runtime operation errors by operation type.",
            "operation_type",
        )
        self._seconds = registry.histogram(
            "kubelet_runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations. Broken down by operation type.",
            "operation_type",
            buckets=exponential(0.005, 2.5, 14),
        )
        self._pods = registry.counter(
            "kubelet_started_pods_total", "Cumulative number of pods started"
        )
        self._failed_pods = registry.counter(
            "kubelet_started_pods_errors_total", "Cumulative number of errors when starting pods"
        )
        self._starts = registry.histogram(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting"
            " to run",
            buckets=_STARTS,
        )

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Count an operation, its time, and its failure."""
        self._total.add(name)
        began = time.monotonic()
        try:
            yield
        except Exception:
            self._errors.add(name)
            raise
        finally:
            self._seconds.observe(name, value=time.monotonic() - began)

    @contextmanager
    def pod(self) -> Iterator[None]:
        """Count a Pod of which the sandbox is made."""
        self._pods.add()
        try:
            yield
        except Exception:
            self._failed_pods.add()
            raise

    def runs(self, seconds: float) -> None:
        """Count a Pod that runs, after the seconds since the agent first saw it."""
        self._starts.observe(value=seconds)


# The runtime's calls that are counted, with their names in CRI.
_OPERATIONS = {
    "run_sandbox": "run_podsandbox",
    "stop_sandbox": "stop_podsandbox",
    "remove_sandbox": "remove_podsandbox",
    "create_container": "create_container",
    "start_container": "start_container",
    "stop_container": "stop_container",
    "remove_container": "remove_container",
    "update_container": "update_container",
    "update_sandbox": "update_podsandbox_resources",
}


def count(runtime: Runtime, metrics: RuntimeMetrics) -> None:
    """Count what a runtime, of any kind, is asked to do from now on."""
    for method, operation in _OPERATIONS.items():
        setattr(runtime, method, _counted(getattr(runtime, method), operation, metrics))


def _counted(
    call: Callable[P, Awaitable[T]], operation: str, metrics: RuntimeMetrics
) -> Callable[P, Awaitable[T]]:
    @wraps(call)
    async def counted(*args: P.args, **kwargs: P.kwargs) -> T:
        with ExitStack() as stack:
            if operation == "run_podsandbox":
                stack.enter_context(metrics.pod())
            stack.enter_context(metrics.operation(operation))
            return await call(*args, **kwargs)

    return counted
