"""What a Pod counts as while it is resized: the most of what it asks for, is given, and has. Pure.

Source: k8s.io/component-helpers/resource (determineEffectiveRequests), KEP-1287 and KEP-5419
"""

from collections.abc import Iterable, Mapping

from control.api.container import Container, ResourceRequirements
from control.api.pod import ContainerStatus, Pod
from control.api.quantity import Quantity, QuantityError, parse

Amounts = Mapping[str, str | int | float]


def effective(pod: Pod) -> Pod:
    """Return the Pod with the requests that count; a resize that cannot be done does not."""
    every = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    statuses = {it.name: it for it in every if it.resources is not None}
    if not statuses and pod.spec.resources is None:
        return pod
    skip = is_infeasible(pod)
    update = {
        "containers": [_of(it, statuses, skip=skip) for it in pod.spec.containers],
        "init_containers": [
            _of(it, statuses, skip=skip) if it.is_sidecar else it for it in pod.spec.init_containers
        ],
        "resources": _whole(pod, skip=skip),
    }
    return pod.model_copy(update={"spec": pod.spec.model_copy(update=update)})


def is_infeasible(pod: Pod) -> bool:
    """Return True if the node can never give a Pod what it asks for."""
    pending = (it for it in pod.status.conditions if it.type == "PodResizePending")
    return any(it.reason == "Infeasible" for it in pending)


def _of(container: Container, statuses: Mapping[str, ContainerStatus], *, skip: bool) -> Container:
    status, asked = statuses.get(container.name), container.resources.requests
    if status is None or status.resources is None:
        return container
    have, given = status.resources.requests, status.allocated_resources
    if asked == have == given:
        return container
    most = _most((have, given) if skip else (asked, have, given))
    resources = container.resources.model_copy(update={"requests": most})
    return container.model_copy(update={"resources": resources})


def _whole(pod: Pod, *, skip: bool) -> ResourceRequirements | None:
    own, actual = pod.spec.resources, pod.status.resources
    if own is None or actual is None or not own.requests:
        return own
    have, given = actual.requests, pod.status.allocated_resources
    most = _most((have, given) if skip else (own.requests, have, given))
    return own.model_copy(
        update={"requests": {n: most.get(n, it) for n, it in own.requests.items()}}
    )


def _most(every: Iterable[Amounts]) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {}
    for amounts in every:
        for name, text in amounts.items():
            if name not in found or _read(text) > _read(found[name]):
                found[name] = text
    return found


def _read(text: str | float) -> Quantity:
    try:
        return parse(text)
    except QuantityError:
        return Quantity(0)
