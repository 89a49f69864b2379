"""Computes a Pod's conditions by kubelet's rules. Pure."""

from collections.abc import Iterable

from control.agent.pods import resize_status
from control.agent.pods.phase import has_passed
from control.api import pod as api
from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import rfc3339


def conditions(
    pod: Pod,
    phase: str,
    init: list[api.ContainerStatus],
    main: list[api.ContainerStatus],
    sandboxed: bool,
) -> list[Condition]:
    """Return what kubelet's conditions of a Pod are to be, without times."""
    pending = [
        spec.name
        for spec, status in zip(pod.spec.init_containers, init, strict=True)
        if not has_passed(spec, status)
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
    return [
        Condition(type="PodReadyToStartContainers", status="True" if sandboxed else "False"),
        _initialization(phase, [] if initialized else pending),
        _readiness("Ready", phase, unready, gates),
        _readiness("ContainersReady", phase, unready, []),
        Condition(type="PodScheduled", status="True"),
    ]


def published(
    pod: Pod, wanted: Iterable[Condition], now: float, disruption: str
) -> list[Condition]:
    """Return the wanted conditions as they are published, and those that others set.

    ``disruption`` says why the node ends the Pod, if that is not the Pod's fault.
    """
    ours = [*wanted, *((_disruption(disruption),) if disruption else ())]
    seen = {"observed_generation": pod.metadata.generation}  # KEP-5067
    others = [it for it in pod.status.conditions if it.type not in resize_status.TYPES]
    return merge(others, (it.model_copy(update=seen) for it in ours), now)


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
