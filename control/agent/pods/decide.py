"""What to do next about one Pod: (the object, what runs, the time) -> actions. Pure.

The shape is kubelet's computePodActions: a sandbox, then the init containers one after the other,
then the rest together; and for a Pod that is over, the way back. Nothing is remembered here:
whatever happened in between, the next call sees what is and says what is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from control.agent.pods.backoff import Failure, Streak
from control.api import container as api
from control.api.pod import Pod
from control.api.times import seconds_of
from control.runtime.base import Container, Phase, Sandbox

DEFAULT_GRACE = 30
_LEAST_GRACE = 2.0
_KEPT_DEAD = 2  # of each name, for `kubectl logs --previous`


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the Pod's sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Disconnect a sandbox in which nothing runs any more."""

    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Forget a sandbox that cannot be used any more, with its dead containers."""

    id: str


@dataclass(frozen=True, slots=True)
class Start:
    """Run a container for the ``attempt``-th time."""

    name: str
    attempt: int
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a container; ``hook`` says whether its preStop hook is still due."""

    container_id: str
    name: str
    grace: float
    message: str
    hook: bool = True


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove a dead container that nobody will ask for."""

    container_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing of the Pod is left running: remove its remains, then its object."""


Action = CreateSandbox | StopSandbox | RemoveSandbox | Start | Kill | Forget | Finish


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a Pod besides its object."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()
    gone: bool = False  # the object is: the Pod was deleted behind our back
    over: str = ""  # why the Pod has failed as a whole, such as DeadlineExceeded
    sick: Mapping[str, str] = field(default_factory=dict)  # container ID -> why it has to restart
    started: frozenset[str] = frozenset()  # IDs of containers whose startup probe has succeeded
    streaks: Mapping[str, Streak] = field(default_factory=dict)  # by container name
    failures: Mapping[str, Failure] = field(default_factory=dict)  # by name; "" is the sandbox
    hashes: Mapping[str, str] = field(default_factory=dict)  # container name -> of today's spec


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to ask again even if nothing happens."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


def decide(pod: Pod, facts: Facts, now: float) -> Decision:
    """The actions that are due. Asking again before they are done gives the same ones."""
    deadline = _deadline(pod)
    if is_over(pod, facts) or (deadline is not None and now >= deadline):
        return Decision(tuple(_wind_down(pod, facts, now)))
    actions, times = _go_on(pod, facts, now)
    if deadline is not None:
        times.append(deadline)
    actions += _forget_old(facts)
    return Decision(tuple(actions), min((time for time in times if time > now), default=None))


def is_over(pod: Pod, facts: Facts) -> bool:
    """Whether nothing of the Pod may run (any more)."""
    ended = pod.status.phase in ("Succeeded", "Failed")
    return ended or facts.gone or bool(facts.over) or is_deleted(pod)


def is_deleted(pod: Pod) -> bool:
    """Whether somebody asked for its deletion."""
    return pod.metadata.deletion_timestamp is not None


def past_deadline(pod: Pod, now: float) -> bool:
    """Whether activeDeadlineSeconds are over."""
    deadline = _deadline(pod)
    return deadline is not None and now >= deadline


def _deadline(pod: Pod) -> float | None:
    seconds, start = pod.spec.active_deadline_seconds, pod.status.start_time
    began = seconds_of(start)
    return began + seconds if seconds is not None and began is not None else None


# -- the way up ----------------------------------------------------------------------------------


def _go_on(pod: Pod, facts: Facts, now: float) -> tuple[list[Action], list[float]]:
    sandbox = ready_sandbox(facts)
    actions = list(_leave(pod, facts, sandbox))
    if any(isinstance(action, Kill) for action in actions):
        return actions, []  # a name must be free before it runs again elsewhere
    if sandbox is None:
        if actions or not _has_work(pod, facts):
            return actions, []
        return _create_sandbox(facts, now)
    plan = _Plan(pod, facts, sandbox, now)
    if plan.init():
        plan.main()
    return actions + plan.actions, plan.times


def _leave(pod: Pod, facts: Facts, current: Sandbox | None) -> Iterator[Action]:
    """A sandbox that is gone takes its containers with it, also when nothing is known of it."""
    usable = current.id if current else ""
    strays = [
        it for it in facts.containers if it.phase is Phase.RUNNING and it.sandbox_id != usable
    ]
    for container in strays:
        yield Kill(container.id, container.name, 0, "Pod sandbox changed", hook=False)
    busy = {it.sandbox_id for it in strays}
    for sandbox in facts.sandboxes:
        if sandbox.id != usable and sandbox.id not in busy and _has_work(pod, facts):
            yield RemoveSandbox(sandbox.id)


def _create_sandbox(facts: Facts, now: float) -> tuple[list[Action], list[float]]:
    failure = facts.failures.get("")
    if failure and failure.until > now:
        return [], [failure.until]
    attempts = [sandbox.attempt for sandbox in facts.sandboxes]
    return [CreateSandbox(max(attempts, default=-1) + 1)], []


def _has_work(pod: Pod, facts: Facts) -> bool:
    """Whether a container would start if there were a sandbox for it."""
    for spec in pod.spec.containers:
        last = latest(facts.containers, spec.name)
        if last is None or last.phase is not Phase.EXITED or restarts(pod, spec, last):
            return True
    return False


class _Plan:
    """The containers of a Pod with a sandbox: collects what is due, and when something will be."""

    def __init__(self, pod: Pod, facts: Facts, sandbox: Sandbox, now: float) -> None:
        self._pod, self._facts, self._sandbox, self._now = pod, facts, sandbox, now
        self._here = tuple(it for it in facts.containers if it.sandbox_id == sandbox.id)
        self.actions: list[Action] = []
        self.times: list[float] = []

    def init(self) -> bool:
        """The init containers in their order; True when the others may run."""
        mains = {spec.name for spec in self._pod.spec.containers}
        done = any(it.name in mains for it in self._here)
        for spec in self._pod.spec.init_containers:
            last = latest(self._here, spec.name)
            if is_sidecar(spec):
                self._keep_running(spec, last)
                passed = last is not None and last.id in self._facts.started
                if not done and not (passed and last and last.phase is Phase.RUNNING):
                    return False
            elif not done and not self._init_step(spec, last):
                return False
        return True

    def _init_step(self, spec: api.Container, last: Container | None) -> bool:
        """True when this init container has done its work."""
        if last is None or last.phase is Phase.CREATED:
            self._start(spec, last)
        elif last.phase is Phase.EXITED and last.exit_code == 0:
            return True
        elif last.phase is Phase.EXITED and self._pod.spec.restart_policy != "Never":
            self._restart(spec, last)
        return False

    def main(self) -> None:
        """The containers that run side by side."""
        for spec in self._pod.spec.containers:
            self._keep_running(spec, latest(self._here, spec.name))

    def _keep_running(self, spec: api.Container, last: Container | None) -> None:
        if last is None or last.phase is Phase.CREATED:
            self._start(spec, last)
        elif last.phase is Phase.RUNNING:
            self._check(spec, last)
        elif restarts(self._pod, spec, last):
            self._restart(spec, last)

    def _check(self, spec: api.Container, running: Container) -> None:
        why = self._facts.sick.get(running.id, "")
        wanted = self._facts.hashes.get(spec.name, running.spec_hash)
        if not why and wanted != running.spec_hash:
            why = f"Container {spec.name} definition changed, will be restarted"
        if why:
            grace = _restart_grace(self._pod, spec, starting=running.id not in self._facts.started)
            self.actions.append(Kill(running.id, spec.name, grace, why))

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
        if last is not None and last.phase is Phase.CREATED:
            self.actions.append(Forget(last.id, spec.name))
        attempt = next_attempt(self._pod, self._facts, spec.name)
        self.actions.append(Start(spec.name, attempt, self._sandbox.id))


def next_attempt(pod: Pod, facts: Facts, name: str) -> int:
    """One more than what the runtime, or else the status, knows; it is the restart count."""
    known = [
        it.attempt for it in facts.containers if it.name == name and it.phase is not Phase.CREATED
    ]
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    known += [it.restart_count for it in statuses if it.name == name and it.container_id]
    return max(known, default=-1) + 1


def restarts(pod: Pod, spec: api.Container, ended: Container) -> bool:
    """Whether the restart policy wants a container again that has ended."""
    policy = pod.spec.restart_policy or "Always"
    if is_sidecar(spec) or policy == "Always":
        return True
    return policy == "OnFailure" and ended.exit_code != 0


def is_sidecar(spec: api.Container) -> bool:
    """An init container that stays (KEP-753)."""
    return spec.restart_policy == "Always"


def latest(containers: tuple[Container, ...], name: str) -> Container | None:
    """The newest container of a name."""
    named = [it for it in containers if it.name == name]
    return max(named, key=lambda it: (it.attempt, it.created), default=None)


def ready_sandbox(facts: Facts) -> Sandbox | None:
    """The sandbox to use, if there is one."""
    usable = [sandbox for sandbox in facts.sandboxes if sandbox.ready]
    return max(usable, key=lambda it: (it.attempt, it.created), default=None)


# -- the way down --------------------------------------------------------------------------------


def _wind_down(pod: Pod, facts: Facts, now: float) -> Iterator[Action]:
    running = [it for it in facts.containers if it.phase is Phase.RUNNING]
    sidecars = {spec.name for spec in pod.spec.init_containers if is_sidecar(spec)}
    mains = [it for it in running if it.name not in sidecars]
    for container in mains or running:  # sidecars serve until the others have ended
        message = f"Stopping container {container.name}"
        grace = _grace(pod) if mains else _rest_of_grace(pod, now)
        yield Kill(container.id, container.name, grace, message)
    if running:
        return
    if facts.gone or is_deleted(pod):
        yield Finish()
        return
    for sandbox in facts.sandboxes:
        if sandbox.ready:
            yield StopSandbox(sandbox.id)


def _grace(pod: Pod) -> float:
    """Seconds between asking and killing: the deletion's, or the Pod's own; at least one."""
    asked = pod.metadata.deletion_grace_period_seconds
    seconds = asked if asked is not None else pod.spec.termination_grace_period_seconds
    return max(1, DEFAULT_GRACE if seconds is None else seconds)


def _restart_grace(pod: Pod, spec: api.Container, *, starting: bool) -> float:
    """A probe may have a grace of its own, for what hangs anyway (KEP-2238)."""
    probe = spec.startup_probe if starting else spec.liveness_probe
    own = probe.termination_grace_period_seconds if probe else None
    return _grace(pod) if own is None else own


def _rest_of_grace(pod: Pod, now: float) -> float:
    """What the others have left of the grace: deletionTimestamp is when it is over."""
    end = seconds_of(pod.metadata.deletion_timestamp)
    return _grace(pod) if end is None else min(_grace(pod), max(_LEAST_GRACE, end - now))


def _forget_old(facts: Facts) -> list[Action]:
    actions: list[Action] = []
    for name in {it.name for it in facts.containers}:
        dead = [it for it in facts.containers if it.name == name and it.phase is Phase.EXITED]
        dead.sort(key=lambda it: (it.attempt, it.created))
        actions += [Forget(it.id, name) for it in dead[:-_KEPT_DEAD]]
    return actions
