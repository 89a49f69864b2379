"""What a Pod's status reports of its spec: resources, allocated and in force, and mounts. Pure.

Source: kubelet's convertContainerStatusResources and convertToAPIPodLevelResourcesStatus; KEP-3857
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from control.agent.pods.quality import pod_amount
from control.api.container import Container as Spec
from control.api.container import ResourceRequirements
from control.api.pod import Pod
from control.api.quantity import Quantity, parse
from control.runtime.base import Container, Phase, Resources

Amount = str | int | float
_MILLI = 10**6
_LEAST_REQUEST, _LEAST_LIMIT = 2, 10  # the kernel's least shares, and quota, in thousandths
_NAMES = ("cpu", "memory", "ephemeral-storage")


def in_force(spec: Spec, last: Container) -> ResourceRequirements:
    """Return those of a container: what the kernel has if it runs, else what is allocated."""
    allocated = spec.resources
    if last.phase is not Phase.RUNNING or last.resources is None:
        return allocated
    update = {}
    if allocated.requests:
        update["requests"] = allocated.requests | _requests(last.resources, allocated.requests)
    if allocated.limits:
        update["limits"] = allocated.limits | _limits(last.resources, allocated.limits)
    return allocated.model_copy(update=update)


def volume_mounts(spec: Spec) -> list[dict[str, Any]]:
    """Return a container's mounts: one that is read-only says whether that holds for all below."""
    return [
        {"name": it.name, "mountPath": it.mount_path}
        | ({"readOnly": True, "recursiveReadOnly": "Disabled"} if it.read_only else {})
        for it in spec.volume_mounts
    ]


def whole_in_force(pod: Pod, actual: Resources | None) -> ResourceRequirements:
    """Return those of a Pod as a whole: what the kernel has if it runs, else what is allocated."""
    if pod.status.phase != "Running" or actual is None:
        return ResourceRequirements(
            requests=_totals(pod, "requests"), limits=_totals(pod, "limits")
        )
    base = pod.spec.resources or ResourceRequirements()
    memory = {n: it for n, it in _totals(pod, "requests").items() if n == "memory"}
    requests = memory | base.requests
    return base.model_copy(
        update={
            "requests": requests | _requests(actual, requests),
            "limits": base.limits | _limits(actual, base.limits),
        }
    )


def whole_allocated(pod: Pod) -> dict[str, Amount]:
    """Return what a Pod requests as a whole, as it is allocated."""
    return _totals(pod, "requests")


def _totals(pod: Pod, side: Literal["requests", "limits"]) -> dict[str, Amount]:
    if not any(it.requests or it.limits for it in _asked(pod)):
        return {}  # as of most Pods, whose status is computed often
    found = {name: pod_amount(pod, side, name) for name in _NAMES}
    return {name: str(amount) for name, amount in found.items() if amount is not None}


def _asked(pod: Pod) -> Iterator[ResourceRequirements]:
    """Yield what each container, and the Pod as a whole, asks for."""
    if pod.spec.resources:
        yield pod.spec.resources
    for spec in (*pod.spec.containers, *pod.spec.init_containers):
        yield spec.resources


def _requests(actual: Resources, known: Mapping[str, Amount]) -> dict[str, Amount]:
    made = _cpu(actual.cpu_request, known.get("cpu"), _LEAST_REQUEST)
    return made | _memory(actual.memory_request, known.get("memory"))


def _limits(actual: Resources, known: Mapping[str, Amount]) -> dict[str, Amount]:
    made = _cpu(actual.cpu_limit, known.get("cpu"), _LEAST_LIMIT)
    return made | _memory(actual.memory_limit, known.get("memory"))


def _cpu(milli: int, known: Amount | None, least: int) -> dict[str, Amount]:
    """Return an amount of CPU; one below what the kernel can hold is shown as it was asked."""
    if milli <= least and (known is None or parse(known).milli() <= least):
        return {}
    return {"cpu": _shown(Quantity(milli * _MILLI), known)} if milli else {}


def _memory(amount: int | None, known: Amount | None) -> dict[str, Amount]:
    return {"memory": _shown(Quantity(amount * 10**9, "binary"), known)} if amount else {}


def _shown(actual: Quantity, known: Amount | None) -> Amount:
    return known if known is not None and parse(known) == actual else str(actual)
