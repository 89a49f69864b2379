"""What the node and its containers use, in the kubelet's forms. Pure.

``/metrics/resource`` is text for Prometheus, which metrics-server reads; ``/stats/summary`` is
JSON.
Source: k8s.io/kubernetes/pkg/kubelet/metrics/collectors/resource_metrics.go and
k8s.io/kubelet/pkg/apis/stats/v1alpha1
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from control.api.times import rfc3339
from control.metrics import Registry
from control.runtime.base import Container, PodRef, RuntimeState
from control.runtime.used import RuntimeUsage, Usage

_NANO = 1_000_000_000
Row = tuple[str, float, float | None]  # labels, value, time in seconds since the epoch


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    type: str
    help: str


_CPU = (
    "_cpu_usage_seconds_total",
    "counter",
    "Cumulative cpu time consumed by the {} in core-seconds",
)
_MEMORY = "_memory_working_set_bytes", "gauge", "Current working set of the {} in bytes"
_START = _Family(
    "container_start_time_seconds",
    "gauge",
    "Start time of the container since unix epoch in seconds",
)
_CADVISOR_CPU = _Family(
    "container_cpu_usage_seconds_total",
    "counter",
    "Cumulative cpu time consumed in seconds.",
)
_CADVISOR_MEMORY = _Family(
    "container_memory_working_set_bytes", "gauge", "Current working set in bytes."
)
_CADVISOR_START = _Family(
    "container_start_time_seconds",
    "gauge",
    "Start time of the container since unix epoch in seconds.",
)
_ERROR = _Family(
    "resource_scrape_error",
    "gauge",
    "1 if there was an error while getting container metrics, 0 otherwise",
)


def resource_metrics(used: RuntimeUsage, containers: Iterable[Container]) -> str:
    """Return the text of /metrics/resource."""
    running = _running(used, containers)
    pods = _by_pod(running)
    lines: list[str] = []
    for form, value in ((_CPU, _cpu_of), (_MEMORY, _memory_of)):
        lines += _family(_made(form, "container"), _rows(running, value, used.at))
        lines += _family(_made(form, "node"), [("", value(used.node), used.at)])
        lines += _family(
            _made(form, "pod"),
            [(_labels(pod), value(total), used.at) for pod, (total, _) in pods.items()],
        )
    starts = [(_labels(it.pod, it.name), it.started, None) for it, _ in running]
    lines += _family(_START, starts)
    lines += _family(_ERROR, [("", 0, None)])
    return "\n".join(lines) + "\n"


def _made(form: tuple[str, str, str], of: str) -> _Family:
    suffix, kind, text = form
    return _Family(f"{of}{suffix}", kind, text.format(of))


def _running(used: RuntimeUsage, containers: Iterable[Container]) -> list[tuple[Container, Usage]]:
    return [(it, used.containers[it.id]) for it in containers if it.id in used.containers]


def _by_pod(
    running: Iterable[tuple[Container, Usage]],
) -> dict[PodRef, tuple[Usage, list[tuple[Container, Usage]]]]:
    pods: dict[PodRef, tuple[Usage, list[tuple[Container, Usage]]]] = {}
    for item, usage in running:
        total, parts = pods.get(item.pod, (Usage(0.0, 0), []))
        sum_ = Usage(total.cpu + usage.cpu, total.memory + usage.memory)
        pods[item.pod] = (sum_, [*parts, (item, usage)])
    return pods


def _cpu_of(usage: Usage) -> float:
    return usage.cpu


def _memory_of(usage: Usage) -> float:
    return usage.memory


def _rows(
    running: Iterable[tuple[Container, Usage]], value: Callable[[Usage], float], at: float
) -> list[Row]:
    return [(_labels(it.pod, it.name), value(usage), at) for it, usage in running]


def _labels(pod: PodRef, container: str = "") -> str:
    """Return labels; the names of Pods and containers need no escapes."""
    own = f'container="{container}",' if container else ""
    return f'{{{own}namespace="{pod.namespace}",pod="{pod.name}"}}'


def _family(family: _Family, rows: Iterable[Row]) -> Iterator[str]:
    made = [
        f"{family.name}{labels} {value!r}" + ("" if at is None else f" {int(at * 1000)}")
        for labels, value, at in rows
    ]
    if made:
        yield f"# HELP {family.name} [STABLE] {family.help}"
        yield f"# TYPE {family.name} {family.type}"
        yield from made


def cadvisor_metrics(used: RuntimeUsage, containers: Iterable[Container]) -> str:
    """Return the text of /metrics/cadvisor: what dashboards ask for of containers."""
    running = _running(used, containers)
    cpu = [(_cadvisor(it), usage.cpu, used.at) for it, usage in running]
    memory = [(_cadvisor(it), usage.memory, used.at) for it, usage in running]
    starts = [(_cadvisor(it), it.started, used.at) for it, _ in running]
    lines = [
        *_family(_CADVISOR_CPU, cpu),
        *_family(_CADVISOR_MEMORY, memory),
        *_family(_CADVISOR_START, starts),
    ]
    return "".join(f"{line}\n" for line in lines)


def _cadvisor(item: Container) -> str:
    return (
        f'{{container="{item.name}",id="/pods/{item.pod.uid}/{item.id}",image="{item.image}",'
        f'name="{item.id}",namespace="{item.pod.namespace}",pod="{item.pod.name}"}}'
    )


def kubelet_metrics(node: str, state: RuntimeState, lasting: Registry) -> str:
    """Return the text of /metrics: what runs on the node, its resizes, and the process itself."""
    registry = Registry()
    registry.gauge("kubelet_node_name", "The node's name. The count is always 1.", "node").set(
        node, value=1
    )
    pods = registry.gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox")
    pods.set(value=len({box.pod.uid for box in state.sandboxes if box.ready}))
    containers = registry.gauge(
        "kubelet_running_containers", "Number of containers currently running", "container_state"
    )
    for item in state.containers:
        containers.add(item.phase.value)
    return registry.own_text() + lasting.text()


def summary(
    node: str, started: float, used: RuntimeUsage, containers: Iterable[Container]
) -> dict[str, Any]:
    """Return the document of /stats/summary: CPU and memory of the node and its Pods."""
    pods = _by_pod(_running(used, containers))
    return {
        "node": {"nodeName": node, "startTime": rfc3339(started)} | _measured(used.node, used.at),
        "pods": [_pod(ref, total, parts, used.at) for ref, (total, parts) in pods.items()],
    }


def _pod(
    pod: PodRef, total: Usage, parts: Iterable[tuple[Container, Usage]], at: float
) -> dict[str, Any]:
    every = list(parts)
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": rfc3339(min(item.started for item, _ in every)),
        "containers": [
            {"name": item.name, "startTime": rfc3339(item.started)} | _measured(usage, at)
            for item, usage in every
        ],
    } | _measured(total, at)


def _measured(usage: Usage, at: float) -> dict[str, Any]:
    time = rfc3339(at)
    return {
        "cpu": {"time": time, "usageCoreNanoSeconds": int(usage.cpu * _NANO)},
        "memory": {"time": time, "workingSetBytes": usage.memory},
    }
