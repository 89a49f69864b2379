"""Computes a Pod's phase of its containers' statuses, by kubelet's rules. Pure."""

from control.agent.pods import decide
from control.agent.pods.facts import PodFacts
from control.agent.pods.restart_policy import restarts
from control.api import pod as api
from control.api.container import Container as Spec
from control.api.pod import Pod
from control.runtime.base import Phase

_FINAL = ("Succeeded", "Failed")
_OVER = {
    "DeadlineExceeded": "Pod was active on the node longer than the specified deadline",
}


def shown(pod: Pod, facts: PodFacts, phase: str) -> tuple[str, str | None, str | None]:
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


def phase_of(
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
    return all(has_passed(spec, status) for spec, status in pairs)


def _init_failed(pod: Pod, init: list[api.ContainerStatus]) -> bool:
    codes = (
        (spec, status.state.terminated.exit_code)
        for spec, status in zip(pod.spec.init_containers, init, strict=True)
        if status.state.terminated
    )
    return any(code and not restarts(pod, spec, code) for spec, code in codes)


def has_passed(spec: Spec, status: api.ContainerStatus) -> bool:
    """Return True if an init container does not keep the others waiting any more."""
    if spec.is_sidecar:
        return bool(status.started)
    return status.state.terminated is not None and status.state.terminated.exit_code == 0
