"""Which container a request means. Pure; the texts are kubelet's (validateContainerLogStatus)."""

from collections.abc import Iterable

from control.agent.server.refusal import Refusal
from control.api.pod import ContainerStatus, Pod
from control.runtime.base import Container, Phase

_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


def of_pod(pod: Pod, name: str, containers: Iterable[Container]) -> list[Container]:
    """What ran or runs as the container ``name`` of a Pod, oldest first; raises Refusal (404)."""
    spec = pod.spec
    names = {it.name for it in (*spec.containers, *spec.init_containers)}
    if name not in names:
        raise Refusal(404, f'container "{name}" not found in pod "{pod.metadata.name}"')
    uid = pod.metadata.uid
    own = [it for it in containers if it.pod.uid == uid and it.name == name]
    return sorted(own, key=lambda it: it.attempt)


def with_log(pod: Pod, name: str, containers: Iterable[Container], previous: bool) -> Container:
    """The container whose log is wanted: the latest that ran, or the one before; raises Refusal."""
    began = [it for it in of_pod(pod, name, containers) if it.phase is not Phase.CREATED]
    if previous:
        return _previous(pod, name, began)
    if not began:
        raise Refusal(400, _why_waiting(pod, name))
    return began[-1]


def _previous(pod: Pod, name: str, began: list[Container]) -> Container:
    """While a container waits for its next start, its last run is the previous one."""
    waiting = _status(pod, name).state.waiting is not None
    runs = began if waiting and began and began[-1].phase is Phase.EXITED else began[:-1]
    if not runs:
        raise Refusal(
            400, f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found'
        )
    return runs[-1]


def running(pod: Pod, name: str, containers: Iterable[Container]) -> Container:
    """The container as it runs now; raises Refusal."""
    for container in reversed(of_pod(pod, name, containers)):
        if container.phase is Phase.RUNNING:
            return container
    raise Refusal(400, f'container not found ("{name}"): it does not run now')


def _status(pod: Pod, name: str) -> ContainerStatus:
    status = pod.status
    every = (*status.container_statuses, *status.init_container_statuses)
    return next((it for it in every if it.name == name), ContainerStatus(name=name))


def _why_waiting(pod: Pod, name: str) -> str:
    waiting = _status(pod, name).state.waiting
    prefix = f'container "{name}" in pod "{pod.metadata.name}" is waiting to start'
    if waiting is None or not waiting.reason:
        return f"{prefix} - no logs yet"
    return f"{prefix}: {_WAITING.get(waiting.reason, waiting.reason)}"
