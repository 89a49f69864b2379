"""Quality of service (kubelet's qos package): class, and how readily the kernel kills. Pure."""

from control.api import container as api
from control.api.pod import Pod
from control.api.quantity import Quantity, QuantityError, parse

_RESOURCES = ("cpu", "memory")


def quality(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort."""
    everyone = (*pod.spec.containers, *pod.spec.init_containers)
    if not any(_asks(it) for it in everyone):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(it) for it in everyone) else "Burstable"


def oom_score_adj(pod: Pod, container: api.Container, capacity: int) -> int:
    """Burstable ones by their share of the node's memory, between 3 and 999."""
    match quality(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    request = amount(container, "requests", "memory")
    score = 1000 - (1000 * request.value() // capacity if request and capacity else 0)
    return max(3, min(999, score))


def amount(container: api.Container, side: str, resource: str) -> Quantity | None:
    """A container's request or limit; an absent request is the limit. None when there is none."""
    limits, requests = container.resources.limits, container.resources.requests
    text = (
        limits.get(resource) if side == "limits" else requests.get(resource, limits.get(resource))
    )
    if text is None:
        return None
    try:
        return parse(text)
    except QuantityError:
        return None  # the server refuses these; one that came through limits nothing


def _asks(container: api.Container) -> bool:
    amounts = [
        amount(container, side, name) for side in ("requests", "limits") for name in _RESOURCES
    ]
    return any(it is not None and it.nano > 0 for it in amounts)


def _guaranteed(container: api.Container) -> bool:
    for name in _RESOURCES:
        limit = amount(container, "limits", name)
        if limit is None or limit.nano == 0 or limit != amount(container, "requests", name):
            return False
    return True
