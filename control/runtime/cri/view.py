"""Reads what a CRI runtime says of sandboxes and containers. Pure."""

from collections.abc import Mapping

from control.runtime.base import Container, Phase, PodRef, Resources, Sandbox
from control.runtime.cri import render
from control.runtime.cri.v1 import api_pb2 as pb

_NANO = 1_000_000_000
_LOST_CODE, _LOST = 137, "ContainerStatusUnknown"  # kubelet's, for a container that was lost


def pod_of(labels: Mapping[str, str]) -> PodRef | None:
    """Return the Pod of an object's labels; None if no kubelet or agent has made it."""
    uid = labels.get(render.POD_UID)
    if not uid:
        return None
    return PodRef(labels.get(render.POD_NAMESPACE, ""), labels.get(render.POD_NAME, ""), uid)


def sandbox(status: pb.PodSandboxStatus, limits: Resources | None) -> Sandbox | None:
    """Return a sandbox as the agent sees it; None if it is not an agent's."""
    pod = pod_of(status.labels)
    if pod is None:
        return None
    ready = status.state == pb.SANDBOX_READY
    first = [status.network.ip] if status.network.ip else []
    addresses = (*first, *(item.ip for item in status.network.additional_ips))
    return Sandbox(
        id=status.id,
        pod=pod,
        attempt=status.metadata.attempt,
        ready=ready,
        created=status.created_at / _NANO,
        addresses=addresses if ready else (),
        host_network=status.linux.namespaces.options.network == pb.NODE,
        resources=limits,
    )


def container(
    status: pb.ContainerStatus, sandbox_id: str, image: str, limits: Resources | None
) -> Container | None:
    """Return a container as the agent sees it; None if it is not an agent's.

    ``image`` is the reference in the Pod: runtimes say another one if an image has several names.
    """
    pod = pod_of(status.labels)
    if pod is None:
        return None
    lost = status.state == pb.CONTAINER_UNKNOWN
    started, finished = max(0, status.started_at), max(0, status.finished_at)
    if finished:  # containerd notes the start last, up to some milliseconds after a short life
        started = min(started, finished)
    return Container(
        id=status.id,
        sandbox_id=sandbox_id,
        pod=pod,
        name=status.metadata.name,
        attempt=status.metadata.attempt,
        phase=phase(status.state),
        image=image or status.image.image,
        image_id=status.image_ref,
        created=status.created_at / _NANO,
        started=started / _NANO,
        finished=finished / _NANO,
        exit_code=_LOST_CODE if lost else status.exit_code,
        reason=_LOST if lost else status.reason,
        message=status.message,
        log_path=status.log_path,
        spec_hash=status.annotations.get(render.SPEC_HASH, ""),
        resources=limits,
    )


def phase(state: int) -> Phase:
    """Return the phase of a state; one that the runtime has lost counts as ended."""
    if state == pb.CONTAINER_CREATED:
        return Phase.CREATED
    return Phase.RUNNING if state == pb.CONTAINER_RUNNING else Phase.EXITED
