"""What the runtime holds a Pod and its containers to. Pure.

Source: kubelet's ResourceConfigForPod (pkg/kubelet/cm) and GetLimits (pkg/kubelet/util).
"""

from control.agent.pods.quality import (
    amount,
    oom_score_adj,
    pod_amount,
    quality,
    whole_amount,
)
from control.api import container as api
from control.api.pod import Pod
from control.api.quantity import Quantity
from control.runtime.base import Resources


def container_resources(pod: Pod, spec: api.Container, capacity: int) -> Resources:
    """Return a container's; the Pod's limit as a whole is that of a container without one.

    ``capacity``: the node's memory in bytes.
    """
    request = amount(spec, "requests", "memory")
    return Resources(
        cpu_request=_milli(amount(spec, "requests", "cpu")),
        cpu_limit=_milli(amount(spec, "limits", "cpu") or whole_amount(pod, "limits", "cpu")),
        memory_limit=_bytes(
            amount(spec, "limits", "memory") or whole_amount(pod, "limits", "memory")
        ),
        oom_score_adj=oom_score_adj(pod, spec, capacity),
        memory_request=_bytes(request),
    )


def pod_resources(pod: Pod) -> Resources:
    """Return those of a Pod's containers together; a limit only if each of them has one."""
    if quality(pod) == "BestEffort":
        return Resources(memory_request=0)
    return Resources(
        cpu_request=_milli(pod_amount(pod, "requests", "cpu")),
        cpu_limit=_milli(_limit(pod, "cpu")),
        memory_limit=_bytes(_limit(pod, "memory")),
        memory_request=_bytes(pod_amount(pod, "requests", "memory")),
    )


def _limit(pod: Pod, resource: str) -> Quantity | None:
    everyone = (*pod.spec.containers, *pod.spec.init_containers)
    whole = whole_amount(pod, "limits", resource)
    limits = [amount(spec, "limits", resource) for spec in everyone]
    declared = whole is not None or all(limit is not None and limit.nano for limit in limits)
    return pod_amount(pod, "limits", resource) if declared else None


def _milli(quantity: Quantity | None) -> int:
    return quantity.milli() if quantity else 0


def _bytes(quantity: Quantity | None) -> int:
    return quantity.value() if quantity else 0
