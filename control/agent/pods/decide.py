"""Decides the next actions for one Pod: (object, facts, time) -> actions. Pure.

As kubelet's computePodActions: first a sandbox, then the init containers one after the other, then
the other containers together. A Pod that is over is taken down in the reverse order. Nothing is
remembered between calls: each call compares what is there with what should be.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from control.agent.pods import resizing
from control.agent.pods.backoff import Streak
from control.agent.pods.facts import PodFacts, latest, ready_sandbox
from control.agent.pods.resizing import ContainerChange
from control.agent.pods.restart_policy import restarts
from control.agent.pods.steps import (
    RESIZE,
    Action,
    CreateSandbox,
    Finish,
    Forget,
    Free,
    Kill,
    RemoveSandbox,
    Resize,
    Start,
    StopSandbox,
)
from control.api import container as api
from control.api.pod import Pod, PodStatus
from control.api.times import seconds_of
from control.runtime.base import Container, Phase, Resources, Sandbox

DEFAULT_GRACE = 30
_LEAST_GRACE = 2.0
EVICTED = "Evicted"
_EVICTION_GRACE = 1.0  # seconds, kubelet's for a Pod that exceeds its disk space
_KEPT_DEAD = 2  # of each name, for `kubectl logs --previous`


@dataclass(frozen=True, slots=True)
class Decision:
    """The actions that are due, and the time of the next decision if nothing happens before."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


def next_actions(pod: Pod, facts: PodFacts, now: float) -> Decision:
    """Return the actions that are due; the same ones until they are done."""
    deadline = _deadline(pod)
    if is_over(pod, facts) or (deadline is not None and now >= deadline):
        return Decision(tuple(_wind_down(pod, facts, now)))
    actions, times = _go_on(pod, facts, now)
    if deadline is not None:
        times.append(deadline)
    actions += _forget_old(facts)
    return Decision(tuple(actions), min((time for time in times if time > now), default=None))


def is_over(pod: Pod, facts: PodFacts) -> bool:
    """True if no container of the Pod may run any more."""
    ended = _says_its_end(pod) or _has_ended(pod, facts)
    return ended or facts.gone or bool(facts.over) or is_deleted(pod)


def _says_its_end(pod: Pod) -> bool:
    """True if the phase is final."""
    return is_final(pod.status)


def is_final(status: PodStatus) -> bool:
    """True if the phase of a status is final."""
    return status.phase in ("Succeeded", "Failed")


def _has_ended(pod: Pod, facts: PodFacts) -> bool:
    """True if every main container has ended for good, or none can begin; sidecars may still run.

    The phase does not say it before the sidecars have ended too.
    """
    return not _has_work(pod, facts) or any(
        last is not None
        and last.phase is Phase.EXITED
        and last.exit_code != 0
        and not restarts(pod, spec, last.exit_code)
        for spec in pod.spec.init_containers
        for last in [latest(facts.containers, spec.name)]
    )


def is_deleted(pod: Pod) -> bool:
    """True if the Pod's deletion was requested."""
    return pod.metadata.deletion_timestamp is not None


def past_deadline(pod: Pod, now: float) -> bool:
    """True if activeDeadlineSeconds have passed."""
    deadline = _deadline(pod)
    return deadline is not None and now >= deadline


def _deadline(pod: Pod) -> float | None:
    seconds, start = pod.spec.active_deadline_seconds, pod.status.start_time
    began = seconds_of(start)
    return began + seconds if seconds is not None and began is not None else None


def _go_on(pod: Pod, facts: PodFacts, now: float) -> tuple[list[Action], list[float]]:
    sandbox = ready_sandbox(facts)
    actions = list(_leave(pod, facts, sandbox))
    if any(isinstance(action, Kill) for action in actions):
        return actions, []  # a container must end before one of its name starts elsewhere
    if sandbox is None:
        if actions or not _has_work(pod, facts):
            return actions, []
        return _create_sandbox(facts, now)
    plan = _Plan(pod, facts, sandbox, now)
    plan.ephemeral()
    if plan.init():
        plan.main()
    plan.resize()
    return actions + plan.actions, plan.times


def _leave(pod: Pod, facts: PodFacts, current: Sandbox | None) -> Iterator[Action]:
    """Kill containers outside the current sandbox, then remove the sandboxes that they leave."""
    usable = current.id if current else ""
    strays = [
        container
        for container in facts.containers
        if container.phase is Phase.RUNNING and container.sandbox_id != usable
    ]
    for container in strays:
        yield Kill(container.id, container.name, 0, "Pod sandbox changed", hook=False)
    busy = {container.sandbox_id for container in strays}
    for sandbox in facts.sandboxes:
        if sandbox.id != usable and sandbox.id not in busy and _has_work(pod, facts):
            yield RemoveSandbox(sandbox.id)


def _create_sandbox(facts: PodFacts, now: float) -> tuple[list[Action], list[float]]:
    failure = facts.failures.get("")
    if failure and failure.until > now:
        return [], [failure.until]
    attempts = [sandbox.attempt for sandbox in facts.sandboxes]
    return [CreateSandbox(max(attempts, default=-1) + 1)], []


def _has_work(pod: Pod, facts: PodFacts) -> bool:
    """True if a container would start if there were a sandbox."""
    for spec in pod.spec.containers:
        last = latest(facts.containers, spec.name)
        if last is None or last.phase is not Phase.EXITED:
            return True
        if last.id in facts.replaced or restarts(pod, spec, last.exit_code):
            return True
    return False


def is_replaced(facts: PodFacts, name: str) -> bool:
    """True if the last container of a name was ended to start again, however it ended."""
    last = latest(facts.containers, name)
    return last is not None and last.id in facts.replaced


class _Plan:
    """Collects the due actions for the containers of one sandbox, and the times of later ones."""

    def __init__(self, pod: Pod, facts: PodFacts, sandbox: Sandbox, now: float) -> None:
        self._pod, self._facts, self._sandbox, self._now = pod, facts, sandbox, now
        self._here = tuple(
            container for container in facts.containers if container.sandbox_id == sandbox.id
        )
        self.actions: list[Action] = []
        self.times: list[float] = []
        self._changes: list[ContainerChange] = []
        self._resize = _resize_of(facts, sandbox)

    def ephemeral(self) -> None:
        """Start each ephemeral container once, whatever the others do."""
        for spec in self._pod.spec.ephemeral_containers:
            last = latest(self._facts.containers, spec.name)
            if last is None or last.phase is Phase.CREATED:
                self._start(spec, last)

    def init(self) -> bool:
        """Step through the init containers in order; True if the main containers may run."""
        mains = {spec.name for spec in self._pod.spec.containers}
        done = any(container.name in mains for container in self._here)
        for spec in self._pod.spec.init_containers:
            last = latest(self._here, spec.name)
            if spec.is_sidecar:
                self._keep_running(spec, last)
                passed = last is not None and last.id in self._facts.started
                if not done and not (passed and last and last.phase is Phase.RUNNING):
                    return False
            elif not done and not self._init_step(spec, last):
                return False
        return True

    def _init_step(self, spec: api.Container, last: Container | None) -> bool:
        """Start or restart an init container; True if it has succeeded."""
        if last is None or last.phase is Phase.CREATED:
            self._start(spec, last)
        elif last.phase is Phase.RUNNING:
            self._check_resources(spec, last)
        elif last.phase is Phase.EXITED and last.exit_code == 0:
            return True
        elif last.phase is Phase.EXITED and restarts(self._pod, spec, last.exit_code):
            self._restart(spec, last)
        return False

    def main(self) -> None:
        """Keep the main containers running, side by side."""
        for spec in self._pod.spec.containers:
            self._keep_running(spec, latest(self._here, spec.name))

    def _keep_running(self, spec: api.Container, last: Container | None) -> None:
        if last is None or last.phase is Phase.CREATED:
            self._start(spec, last)
        elif last.phase is Phase.RUNNING:
            self._check(spec, last)
        elif last.id in self._facts.replaced:
            self._start(spec, last)
        elif restarts(self._pod, spec, last.exit_code):
            self._restart(spec, last)

    def _check(self, spec: api.Container, running: Container) -> None:
        why = self._facts.sick.get(running.id, "")
        wanted = self._facts.hashes.get(spec.name, running.spec_hash)
        if not why and wanted != running.spec_hash:
            why = f"Container {spec.name} definition changed, will be restarted"
        if not why:
            why = self._check_resources(spec, running)
        if why:
            grace = _restart_grace(self._pod, spec, starting=running.id not in self._facts.started)
            replaces = running.id not in self._facts.sick
            self.actions.append(Kill(running.id, spec.name, grace, why, replaces=replaces))

    def _check_resources(self, spec: api.Container, running: Container) -> str:
        """Note what changes in a running container; return why it has to restart for that."""
        change = resizing.change_of(running, self._facts.wanted.get(spec.name))
        if change is None:
            return ""
        if resizing.needs_restart(spec, change):
            return f"Container {spec.name} resize requires restart"
        self._changes.append(change)
        return ""

    def resize(self) -> None:
        """Change the resources of what runs; a Pod shrinks after its containers."""
        action = self._resize
        if action is None and self._changes:
            none = Resources()
            action = Resize(self._sandbox.id, self._sandbox.resources or none, self._whole)
        if action is None:
            return
        if any(isinstance(it, Kill) for it in self.actions):
            action = replace(action, wanted=resizing.grown(action.now, action.wanted))
        failure = self._facts.failures.get(RESIZE)
        if failure and failure.until > self._now:
            self.times.append(failure.until)
        elif self._changes or resizing.differs(action.now, action.wanted):
            self.actions.append(replace(action, changes=tuple(self._changes)))

    @property
    def _whole(self) -> Resources:
        return self._facts.whole or self._sandbox.resources or Resources()

    def _restart(self, spec: api.Container, last: Container) -> None:
        streak = self._facts.streaks.get(spec.name, Streak())
        due = streak.not_before(last.finished)
        if due > self._now:
            self.times.append(due)
        else:
            self._start(spec, last)

    def _start(self, spec: api.Container, last: Container | None) -> None:
        failure = self._facts.failures.get(spec.name)
        if failure and failure.until > self._now:
            self.times.append(failure.until)
            return
        if self._resize and RESIZE not in self._facts.failures:
            return  # its Pod gets the room first
        if last is not None and last.phase is Phase.CREATED:
            self.actions.append(Forget(last.id, spec.name))
        attempt = next_attempt(self._pod, self._facts, spec.name)
        self.actions.append(Start(spec.name, attempt, self._sandbox.id))


def _resize_of(facts: PodFacts, sandbox: Sandbox) -> Resize | None:
    """Return how the Pod's own resources have to change; an older agent's Pod has none."""
    now = sandbox.resources
    if now is None or facts.whole is None:
        return None
    wanted = resizing.kept(now, facts.whole)
    return Resize(sandbox.id, now, wanted) if resizing.differs(now, wanted) else None


def is_resizing(pod: Pod, facts: PodFacts) -> bool:
    """True if a running container, or a Pod that asks for resources itself, is not resized yet."""
    sandbox = ready_sandbox(facts)
    running = [it for it in facts.containers if it.phase is Phase.RUNNING]
    if any(resizing.change_of(it, facts.wanted.get(it.name)) for it in running):
        return True
    return bool(sandbox and pod.spec.resources and _resize_of(facts, sandbox))


def next_attempt(pod: Pod, facts: PodFacts, name: str) -> int:
    """The attempt after the last one that runtime or status know; it is the restart count."""
    known = [
        container.attempt
        for container in facts.containers
        if container.name == name and container.phase is not Phase.CREATED
    ]
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    known += [
        status.restart_count for status in statuses if status.name == name and status.container_id
    ]
    return max(known, default=-1) + 1


def _wind_down(pod: Pod, facts: PodFacts, now: float) -> Iterator[Action]:
    running = [container for container in facts.containers if container.phase is Phase.RUNNING]
    sidecars = {spec.name for spec in pod.spec.init_containers if spec.is_sidecar}
    mains = [container for container in running if container.name not in sidecars]
    for container in mains or running:  # sidecars run until the main containers have ended
        message = f"Stopping container {container.name}"
        grace = _grace(pod) if mains else _rest_of_grace(pod, now)
        grace = _EVICTION_GRACE if facts.over == EVICTED else grace
        yield Kill(container.id, container.name, min(grace, facts.most_grace), message)
    if running:
        return
    if facts.gone or is_deleted(pod):
        yield Finish()
        return
    if _says_its_end(pod) and pod.status.reason == EVICTED:
        if facts.sandboxes or facts.containers:
            yield Free()
        return
    for sandbox in facts.sandboxes if _says_its_end(pod) else ():  # until then it shows addresses
        if sandbox.ready:
            yield StopSandbox(sandbox.id)


def _grace(pod: Pod) -> float:
    """The grace period in seconds: the deletion's or the Pod's own; at least one."""
    asked = pod.metadata.deletion_grace_period_seconds
    seconds = asked if asked is not None else pod.spec.termination_grace_period_seconds
    return max(1, DEFAULT_GRACE if seconds is None else seconds)


def _restart_grace(pod: Pod, spec: api.Container, *, starting: bool) -> float:
    """The grace period of a restart: a failed probe may have one of its own (KEP-2238)."""
    probe = spec.startup_probe if starting else spec.liveness_probe
    own = probe.termination_grace_period_seconds if probe else None
    return _grace(pod) if own is None else own


def _rest_of_grace(pod: Pod, now: float) -> float:
    """The rest of the grace period, which ends at deletionTimestamp."""
    end = seconds_of(pod.metadata.deletion_timestamp)
    return _grace(pod) if end is None else min(_grace(pod), max(_LEAST_GRACE, end - now))


def _forget_old(facts: PodFacts) -> list[Action]:
    actions: list[Action] = []
    for name in {container.name for container in facts.containers}:
        dead = [
            container
            for container in facts.containers
            if container.name == name and container.phase is Phase.EXITED
        ]
        dead.sort(key=lambda container: (container.attempt, container.created))
        actions += [Forget(container.id, name) for container in dead[:-_KEPT_DEAD]]
    return actions
