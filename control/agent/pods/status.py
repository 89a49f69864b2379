"""Computes a Pod's status by kubelet's rules, and the states of its containers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from control.agent.pods import decide
from control.agent.pods.backoff import Streak
from control.agent.pods.conditions import conditions, published
from control.agent.pods.facts import PodFacts, latest, ready_sandbox
from control.agent.pods.phase import phase_of, shown
from control.agent.pods.quality import quality
from control.agent.pods.reported import in_force, volume_mounts, whole_allocated, whole_in_force
from control.agent.pods.restart_policy import restarts
from control.api import pod as api
from control.api.container import Container as Spec
from control.api.meta import Condition
from control.api.pod import Pod, PodStatus
from control.api.times import rfc3339
from control.runtime.base import Container, Phase
from control.runtime.images.names import ImageNameError, normalize

BUILTIN = "podwire"


@dataclass(frozen=True, slots=True)
class StatusView:
    """The inputs of a status besides the object and the facts."""

    now: float
    host_addresses: tuple[str, ...]
    ready: frozenset[str] = frozenset()  # IDs of containers whose readiness probe succeeds
    messages: Mapping[str, str] = field(default_factory=dict)  # container ID -> termination message
    rejected: tuple[str, str] | None = None  # (reason, message) of an admission that failed
    runtime: str = BUILTIN  # its name, which container IDs begin with
    resizes: tuple[Condition, ...] = ()  # how far a resize is
    disruption: str = ""  # why the node ends the Pod, if that is not the Pod's fault


def compute(pod: Pod, facts: PodFacts, view: StatusView) -> PodStatus:
    """Return the status to publish; conditions that others set are kept."""
    if view.rejected:
        return _rejected(pod, view)
    if decide.past_deadline(pod, view.now):
        facts = replace(facts, over=facts.over or "DeadlineExceeded")
    init = [_container(pod, facts, view, spec) for spec in pod.spec.init_containers]
    main = [_container(pod, facts, view, spec) for spec in pod.spec.containers]
    phase = phase_of(pod, facts, init, main)
    visible, reason, message = shown(pod, facts, phase)
    sandbox = ready_sandbox(facts)
    # As kubelet (pleg's getPodIPs): a Pod without a sandbox has the addresses that it had.
    addresses = sandbox.addresses if sandbox else tuple(ip.ip for ip in pod.status.pod_ips)
    if sandbox and sandbox.host_network:
        addresses = view.host_addresses
    wanted = conditions(pod, phase, init, main, bool(sandbox))
    return PodStatus(
        phase=visible,
        reason=reason,
        message=message,
        conditions=[*published(pod, wanted, view.now, view.disruption), *view.resizes],
        host_ip=view.host_addresses[0] if view.host_addresses else None,
        host_ips=[api.IPAddress(ip=text) for text in view.host_addresses],
        pod_ip=addresses[0] if addresses else None,
        pod_ips=[api.IPAddress(ip=text) for text in addresses],
        start_time=pod.status.start_time or rfc3339(view.now),
        init_container_statuses=init,
        container_statuses=main,
        ephemeral_container_statuses=[
            _ephemeral(pod, facts, view, spec) for spec in pod.spec.ephemeral_containers
        ],
        qos_class=pod.status.qos_class or quality(pod),
        observed_generation=pod.metadata.generation,
        resources=whole_in_force(pod, sandbox.resources if sandbox else None),
        allocated_resources=whole_allocated(pod),
    )


def _rejected(pod: Pod, view: StatusView) -> PodStatus:
    reason, message = view.rejected or ("", "")
    return PodStatus(
        phase="Failed",
        reason=reason,
        message=f"Pod was rejected: {message}",
        start_time=pod.status.start_time or rfc3339(view.now),
        conditions=list(pod.status.conditions),
        qos_class=pod.status.qos_class or quality(pod),
        observed_generation=pod.metadata.generation,
    )


def _container(pod: Pod, facts: PodFacts, view: StatusView, spec: Spec) -> api.ContainerStatus:
    last = latest(facts.containers, spec.name)
    if last is None:
        return _never_ran(pod, facts, spec)
    state, before = _states(pod, facts, view, spec, last)
    running = last.phase is Phase.RUNNING
    passed = running and last.id in facts.started
    one_shot = spec in pod.spec.init_containers and not spec.is_sidecar
    done = last.phase is Phase.EXITED and last.exit_code == 0
    ready = done if one_shot else passed and last.id in view.ready
    more = {"last_state": before, "ready": ready, "started": passed}
    return _ran(view, spec, last, state).model_copy(update=more)


def _ephemeral(pod: Pod, facts: PodFacts, view: StatusView, spec: Spec) -> api.ContainerStatus:
    """The status of an ephemeral container: it is never ready, and runs once."""
    last = latest(facts.containers, spec.name)
    if last is None:
        return _never_ran(pod, facts, spec).model_copy(update={"started": None})
    return _ran(view, spec, last, _once(pod, facts, view, spec, last))


def _once(
    pod: Pod, facts: PodFacts, view: StatusView, spec: Spec, last: Container
) -> api.ContainerState:
    if last.phase is Phase.EXITED:
        return _ended(last, view)
    return _states(pod, facts, view, spec, last)[0]


def _ran(
    view: StatusView, spec: Spec, last: Container, state: api.ContainerState
) -> api.ContainerStatus:
    return api.ContainerStatus(
        name=spec.name,
        state=state,
        restart_count=last.attempt,
        image=_image(spec),
        image_id=_image_id(view, spec, last),
        container_id=f"{view.runtime}://{last.id}",
        resources=in_force(spec, last),
        allocated_resources=dict(spec.resources.requests),
        volume_mounts=volume_mounts(spec),
    )


def _never_ran(pod: Pod, facts: PodFacts, spec: Spec) -> api.ContainerStatus:
    """The status of a name without a container: what the last status knew is kept."""
    known = next(
        (status for status in _statuses(pod) if status.name == spec.name and status.container_id),
        None,
    )
    waiting = api.ContainerState(waiting=_waiting(pod, facts, spec))
    if known is None:
        return api.ContainerStatus(
            name=spec.name,
            state=waiting,
            image=spec.image or "",
            image_id="",
            started=False,
            volume_mounts=volume_mounts(spec),
        )
    ended = known.state.terminated is not None
    return known.model_copy(
        update={"state": known.state if ended else waiting, "ready": False, "started": False}
    )


def _statuses(pod: Pod) -> tuple[api.ContainerStatus, ...]:
    status = pod.status
    return (
        *status.container_statuses,
        *status.init_container_statuses,
        *status.ephemeral_container_statuses,
    )


def _waiting(pod: Pod, facts: PodFacts, spec: Spec) -> api.ContainerStateWaiting:
    failure = facts.failures.get(spec.name)
    if failure:
        return api.ContainerStateWaiting(reason=failure.reason, message=failure.message)
    reason = "PodInitializing" if pod.spec.init_containers else "ContainerCreating"
    return api.ContainerStateWaiting(reason=reason)


def _states(
    pod: Pod, facts: PodFacts, view: StatusView, spec: Spec, last: Container
) -> tuple[api.ContainerState, api.ContainerState]:
    """Return (state, lastState); while a container waits for its restart, lastState is its end."""
    dead = [
        container
        for container in facts.containers
        if container.name == spec.name and container.phase is Phase.EXITED
    ]
    earlier = [container for container in dead if container.id != last.id]
    previous = latest(tuple(earlier), spec.name)
    before = _ended(previous, view) if previous else api.ContainerState()
    if last.phase is Phase.RUNNING:
        running = api.ContainerStateRunning(started_at=rfc3339(last.started))
        return api.ContainerState(running=running), before
    if last.phase is Phase.CREATED:
        return api.ContainerState(waiting=_waiting(pod, facts, spec)), before
    waiting = _waits_for_restart(pod, facts, view, spec, last)
    if waiting:
        return api.ContainerState(waiting=waiting), _ended(last, view)
    return _ended(last, view), before


def _waits_for_restart(
    pod: Pod, facts: PodFacts, view: StatusView, spec: Spec, last: Container
) -> api.ContainerStateWaiting | None:
    if decide.is_over(pod, facts) or not restarts(pod, spec, last.exit_code):
        return None
    if spec in pod.spec.init_containers and not spec.is_sidecar and last.exit_code == 0:
        return None
    failure = facts.failures.get(spec.name)
    if failure:
        return api.ContainerStateWaiting(reason=failure.reason, message=failure.message)
    streak = facts.streaks.get(spec.name, Streak())
    if streak.not_before(last.finished) <= view.now:
        return None
    seconds = int(streak.delay())
    shown = f"{seconds // 60}m{seconds % 60}s" if seconds >= 60 else f"{seconds}s"
    return api.ContainerStateWaiting(
        reason="CrashLoopBackOff",
        message=f"back-off {shown} restarting failed container={spec.name} pod={pod.metadata.name}_"
        f"{pod.metadata.namespace}({pod.metadata.uid})",
    )


def _image_id(view: StatusView, spec: Spec, last: Container) -> str:
    """Return the image's digest with its repository; a CRI runtime says the whole of it."""
    if view.runtime != BUILTIN or not last.image_id:
        return last.image_id
    return f"{_image(spec).partition('@')[0].rpartition(':')[0]}@{last.image_id}"


def _ended(container: Container, view: StatusView) -> api.ContainerState:
    return api.ContainerState(
        terminated=api.ContainerStateTerminated(
            exit_code=container.exit_code,
            reason=container.reason or None,
            message=view.messages.get(container.id) or container.message or None,
            started_at=rfc3339(container.started or container.created),
            finished_at=rfc3339(container.finished),
            container_id=f"{view.runtime}://{container.id}",
        )
    )


def _image(spec: Spec) -> str:
    try:
        return normalize(spec.image or "")
    except ImageNameError:
        return spec.image or ""
