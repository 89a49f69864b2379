"""Computes a Pod's status by kubelet's rules: phase, conditions, container states. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from control.agent.pods import decide, resize_status
from control.agent.pods.backoff import Streak
from control.agent.pods.facts import PodFacts, latest, ready_sandbox
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
    phase = _phase(pod, facts, init, main)
    shown, reason, message = _shown(pod, facts, phase)
    sandbox = ready_sandbox(facts)
    # As kubelet (pleg's getPodIPs): a Pod without a sandbox has the addresses that it had.
    addresses = sandbox.addresses if sandbox else tuple(ip.ip for ip in pod.status.pod_ips)
    if sandbox and sandbox.host_network:
        addresses = view.host_addresses
    return PodStatus(
        phase=shown,
        reason=reason,
        message=message,
        conditions=[
            *_conditions(pod, view, phase, init, main, sandboxed=bool(sandbox)),
            *view.resizes,
        ],
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


_FINAL = ("Succeeded", "Failed")
_OVER = {
    "DeadlineExceeded": "Pod was active on the node longer than the specified deadline",
}


def _shown(pod: Pod, facts: PodFacts, phase: str) -> tuple[str, str | None, str | None]:
    """Return the phase to show, its reason and message.

    As kubelet (mergePodStatus): a Pod is over when nothing of it runs, also no sidecar.
    """
    old = pod.status
    runs = any(container.phase is Phase.RUNNING for container in facts.containers)
    if runs and phase in _FINAL and old.phase not in _FINAL:
        return old.phase or "Pending", old.reason, old.message
    final = old.phase == "Failed"  # an earlier agent may have said why
    return (
        phase,
        facts.over or (old.reason if final else None),
        facts.why or _OVER.get(facts.over) or (old.message if final else None),
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


def _phase(
    pod: Pod, facts: PodFacts, init: list[api.ContainerStatus], main: list[api.ContainerStatus]
) -> str:
    """Return the phase by kubelet's getPhase; Succeeded and Failed are final."""
    if pod.status.phase in _FINAL:
        return pod.status.phase
    if facts.over or _init_failed(pod, init):
        return "Failed"
    began = any(status.state.running or status.state.terminated for status in main)
    waits = any(status.state.waiting and not status.last_state.terminated for status in main)
    if waits or not (began or _initialized(pod, init)):
        return "Pending"
    return _main_phase(pod, facts, main)


def _main_phase(pod: Pod, facts: PodFacts, main: list[api.ContainerStatus]) -> str:
    """Return the phase of a Pod whose containers have all been started at least once."""
    ended = [
        (spec, status.state.terminated.exit_code)
        for spec, status in zip(pod.spec.containers, main, strict=True)
        if status.state.terminated
    ]
    again = any(
        restarts(pod, spec, code) or decide.is_replaced(facts, spec.name) for spec, code in ended
    )
    if len(ended) < len(main) or (again and not decide.is_over(pod, facts)):
        return "Running"
    return "Failed" if any(code for _, code in ended) else "Succeeded"


def _initialized(pod: Pod, init: list[api.ContainerStatus]) -> bool:
    pairs = zip(pod.spec.init_containers, init, strict=True)
    return all(_init_passed(spec, status) for spec, status in pairs)


def _init_failed(pod: Pod, init: list[api.ContainerStatus]) -> bool:
    codes = (
        (spec, status.state.terminated.exit_code)
        for spec, status in zip(pod.spec.init_containers, init, strict=True)
        if status.state.terminated
    )
    return any(code and not restarts(pod, spec, code) for spec, code in codes)


def _init_passed(spec: Spec, status: api.ContainerStatus) -> bool:
    if spec.is_sidecar:
        return bool(status.started)
    return status.state.terminated is not None and status.state.terminated.exit_code == 0


def _conditions(
    pod: Pod,
    view: StatusView,
    phase: str,
    init: list[api.ContainerStatus],
    main: list[api.ContainerStatus],
    *,
    sandboxed: bool,
) -> list[Condition]:
    pending = [
        spec.name
        for spec, status in zip(pod.spec.init_containers, init, strict=True)
        if not _init_passed(spec, status)
    ]
    began = any(
        status.state.running or status.state.terminated or status.last_state.terminated
        for status in main
    )
    initialized = not pending or began or phase == "Succeeded" or _was_initialized(pod)
    sidecars = [
        status
        for spec, status in zip(pod.spec.init_containers, init, strict=True)
        if spec.is_sidecar
    ]
    unready = [status.name for status in (*sidecars, *main) if not status.ready]
    gates = _open_gates(pod)
    wanted = [
        Condition(type="PodReadyToStartContainers", status="True" if sandboxed else "False"),
        _initialization(phase, [] if initialized else pending),
        _readiness("Ready", phase, unready, gates),
        _readiness("ContainersReady", phase, unready, []),
        Condition(type="PodScheduled", status="True"),
    ]
    if view.disruption:
        wanted.append(_disruption(view.disruption))
    seen = {"observed_generation": pod.metadata.generation}  # KEP-5067
    others = [it for it in pod.status.conditions if it.type not in resize_status.TYPES]
    return merge(others, (it.model_copy(update=seen) for it in wanted), view.now)


def _disruption(message: str) -> Condition:
    reason = "TerminationByKubelet"
    return Condition(type="DisruptionTarget", status="True", reason=reason, message=message)


def _was_initialized(pod: Pod) -> bool:
    """True once the init containers have passed: that is never taken back."""
    return any(it.type == "Initialized" and it.status == "True" for it in pod.status.conditions)


def _open_gates(pod: Pod) -> list[str]:
    """Return what is wrong with the readiness gates (KEP-580)."""
    states = {condition.type: condition.status for condition in pod.status.conditions}
    gates = [gate.get("conditionType", "") for gate in pod.spec.readiness_gates]
    return [
        f'the status of pod readiness gate "{gate}" is not "True", but {states[gate]}'
        if gate in states
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in gates
        if states.get(gate) != "True"
    ]


def _initialization(phase: str, pending: list[str]) -> Condition:
    if not pending:
        reason = "PodCompleted" if phase == "Succeeded" else None
        return Condition(type="Initialized", status="True", reason=reason)
    message = f"containers with incomplete status: [{' '.join(pending)}]"
    reason = "ContainersNotInitialized"
    return Condition(type="Initialized", status="False", reason=reason, message=message)


def _readiness(kind: str, phase: str, unready: list[str], gates: list[str]) -> Condition:
    if phase == "Succeeded":
        return Condition(type=kind, status="False", reason="PodCompleted")
    if phase == "Failed":
        return Condition(type=kind, status="False", reason="PodFailed")
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        return Condition(type=kind, status="False", reason="ContainersNotReady", message=message)
    if gates:
        reason = "ReadinessGatesNotReady"
        return Condition(type=kind, status="False", reason=reason, message=", ".join(gates))
    return Condition(type=kind, status="True")


def merge(old: Iterable[Condition], wanted: Iterable[Condition], now: float) -> list[Condition]:
    """Return the wanted conditions with the time of their last change, and those of others."""
    before = {item.type: item for item in old}
    merged = []
    for item in wanted:
        last = before.pop(item.type, None)
        same = last is not None and last.status == item.status
        when = last.last_transition_time if same and last else rfc3339(now)
        merged.append(item.model_copy(update={"last_transition_time": when}))
    return [*merged, *before.values()]
