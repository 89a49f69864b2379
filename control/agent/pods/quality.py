"""Quality of service, as kubelet's qos package: class and OOM score. Pure."""

from control.api import container as api
from control.api.pod import Pod
from control.api.quantity import ZERO, Quantity, QuantityError, parse, total

_RESOURCES = ("cpu", "memory")


def quality(pod: Pod) -> str:
    """Return the class: Guaranteed, Burstable or BestEffort; the server has computed it."""
    if pod.status.qos_class:
        return pod.status.qos_class
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
    return _quantity(text)


def _quantity(text: str | float | None) -> Quantity | None:
    """Parse an amount; the server refuses invalid ones, and one that got through is none."""
    try:
        return None if text is None else parse(text)
    except QuantityError:
        return None


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


def whole_amount(pod: Pod, side: str, resource: str) -> Quantity | None:
    """Return the request or limit that a Pod has as a whole (KEP-2837), or None."""
    own = pod.spec.resources
    if own is None or resource not in _RESOURCES:
        return None
    return _quantity((own.limits if side == "limits" else own.requests).get(resource))


def pod_amount(pod: Pod, side: str, resource: str) -> Quantity | None:
    """Return a Pod's request or limit of a resource, or None if no container has one.

    Containers and sidecars run together; an init container runs with the sidecars before it (KEP
    753, "Resources calculation for scheduling and pod admission").
    """
    sidecars, peak = ZERO, ZERO
    for spec in pod.spec.init_containers:
        own = amount(spec, side, resource) or ZERO
        peak = max(peak, own + sidecars)
        if spec.is_sidecar:
            sidecars += own
    main = total(amount(spec, side, resource) or ZERO for spec in pod.spec.containers)
    everyone = (*pod.spec.containers, *pod.spec.init_containers)
    if (whole := whole_amount(pod, side, resource)) is not None:
        return whole + (_quantity(pod.spec.overhead.get(resource)) or ZERO)
    found = any(amount(spec, side, resource) is not None for spec in everyone)
    overhead = _quantity(pod.spec.overhead.get(resource)) or ZERO
    return max(main + sidecars, peak) + overhead if found else None
