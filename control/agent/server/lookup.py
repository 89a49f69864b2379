"""Finds the container that a request means. Pure.

The error texts are kubelet's (validateContainerLogStatus).
"""

from collections.abc import Iterable

from control.agent.server.errors import HttpError
from control.api.pod import ContainerStatus, Pod
from control.runtime.base import Container, Phase

_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


def of_pod(pod: Pod, name: str, containers: Iterable[Container]) -> list[Container]:
    """Return all containers of a Pod with this name, oldest first; raises HttpError (404)."""
    spec = pod.spec
    every = (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    names = {container.name for container in every}
    if name not in names:
        raise HttpError(404, f'container "{name}" not found in pod "{pod.metadata.name}"')
    uid = pod.metadata.uid
    own = [
        container for container in containers if container.pod.uid == uid and container.name == name
    ]
    return sorted(own, key=lambda container: container.attempt)


def with_log(pod: Pod, name: str, containers: Iterable[Container], previous: bool) -> Container:
    """Return the container to log: the latest that ran, or the one before; raises HttpError."""
    began = [
        container
        for container in of_pod(pod, name, containers)
        if container.phase is not Phase.CREATED
    ]
    if previous:
        return _previous(pod, name, began)
    if not began:
        raise HttpError(400, _waiting_text(pod, name))
    return began[-1]


def _previous(pod: Pod, name: str, began: list[Container]) -> Container:
    """Return the previous run; while a container waits for its restart, that is the last one."""
    waiting = _status(pod, name).state.waiting is not None
    runs = began if waiting and began and began[-1].phase is Phase.EXITED else began[:-1]
    if not runs:
        raise HttpError(
            400, f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found'
        )
    return runs[-1]


def running(pod: Pod, name: str, containers: Iterable[Container]) -> Container:
    """Return the running container of this name; raises HttpError."""
    for container in reversed(of_pod(pod, name, containers)):
        if container.phase is Phase.RUNNING:
            return container
    raise HttpError(400, f'container not found ("{name}"): it does not run now')


def _status(pod: Pod, name: str) -> ContainerStatus:
    status = pod.status
    every = (
        *status.container_statuses,
        *status.init_container_statuses,
        *status.ephemeral_container_statuses,
    )
    return next((status for status in every if status.name == name), ContainerStatus(name=name))


def _waiting_text(pod: Pod, name: str) -> str:
    waiting = _status(pod, name).state.waiting
    prefix = f'container "{name}" in pod "{pod.metadata.name}" is waiting to start'
    if waiting is None or not waiting.reason:
        return f"{prefix} - no logs yet"
    return f"{prefix}: {_WAITING.get(waiting.reason, waiting.reason)}"
