"""Quality of service, as kubelet's qos package: class and OOM score. Pure."""

from control.api import container as api
from control.api.pod import Pod
from control.api.quantity import Quantity, QuantityError, parse

_RESOURCES = ("cpu", "memory")


def quality(pod: Pod) -> str:
    """Return the class: Guaranteed, Burstable or BestEffort."""
    everyone = (*pod.spec.containers, *pod.spec.init_containers)
    if not any(_asks(container) for container in everyone):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(container) for container in everyone) else "Burstable"


def oom_score_adj(pod: Pod, container: api.Container, capacity: int) -> int:
    """Return a container's score; a Burstable one's by its share of memory, from 3 to 999."""
    match quality(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    request = amount(container, "requests", "memory")
    score = 1000 - (1000 * request.value() // capacity if request and capacity else 0)
    return max(3, min(999, score))


def amount(container: api.Container, side: str, resource: str) -> Quantity | None:
    """Return a container's request or limit, or None; an absent request equals the limit."""
    limits, requests = container.resources.limits, container.resources.requests
    text = (
        limits.get(resource) if side == "limits" else requests.get(resource, limits.get(resource))
    )
    if text is None:
        return None
    try:
        return parse(text)
    except QuantityError:
        return None  # the server refuses invalid quantities; one that got through is no limit


def _asks(container: api.Container) -> bool:
    amounts = [
        amount(container, side, name) for side in ("requests", "limits") for name in _RESOURCES
    ]
    return any(quantity is not None and quantity.nano > 0 for quantity in amounts)


def _guaranteed(container: api.Container) -> bool:
    for name in _RESOURCES:
        limit = amount(container, "limits", name)
        if limit is None or limit.nano == 0 or limit != amount(container, "requests", name):
            return False
    return True
