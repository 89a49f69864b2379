"""The probes of one Pod's running containers, and what they have found so far."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from control.agent.pods.probes import Asker, Course, Result, Target, probe_for_ever
from control.api.pod import Pod
from control.runtime.base import Container, Phase

# A container that failed is on its way out: nobody asks it again.
_FAILURE = frozenset({Result.FAILURE})
_EITHER = frozenset({Result.SUCCESS, Result.FAILURE})

Told = Callable[[str, str, str], None]  # kind of probe, container name, why it failed


@dataclass
class _State:
    """What is known about one container."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    started: bool = False
    ready: bool = False
    sick: str = ""


class Health:
    """Starts and ends probes with their containers; calls ``changed`` for each new result."""

    def __init__(self, asker: Asker, changed: Callable[[], None], told: Told) -> None:
        self._asker, self._changed, self._told = asker, changed, told
        self._states: dict[str, _State] = {}

    @property
    def started(self) -> frozenset[str]:
        """IDs of containers whose startup probe, if any, has succeeded."""
        return frozenset(key for key, state in self._states.items() if state.started)

    @property
    def ready(self) -> frozenset[str]:
        """IDs of containers whose readiness probe, if any, succeeds."""
        return frozenset(
            key for key, state in self._states.items() if state.started and state.ready
        )

    @property
    def sick(self) -> dict[str, str]:
        """IDs of containers that have to be restarted, with the reason."""
        return {key: state.sick for key, state in self._states.items() if state.sick}

    def blame(self, container_id: str, why: str) -> None:
        """A container has to be restarted for another reason than a probe."""
        self._states.setdefault(container_id, _State()).sick = why

    def follow(self, pod: Pod, running: dict[str, Container], address: str) -> None:
        """Probe exactly these containers (by ID), those that were told to have begun."""
        specs = {it.name: it for it in (*pod.spec.containers, *pod.spec.init_containers)}
        for key in self._states.keys() - running.keys():
            self._end(self._states.pop(key))
        for key, container in running.items():
            if container.phase is Phase.RUNNING and key not in self._states:
                state = self._states[key] = _known(pod, key)
                self._begin(state, Target(key, specs[container.name], address))

    def _begin(self, state: _State, target: Target) -> None:
        startup = target.spec.startup_probe
        if startup is None or state.started:
            self._on_started(state, target)
            return

        def changed(result: Result, why: str) -> None:
            if result is Result.SUCCESS:
                self._on_started(state, target)
            else:
                self._fall_sick(state, target, "startup", why)
            self._changed()

        course = Course(startup, Result.UNKNOWN, last=_EITHER)
        self._run(state, target, course, "Startup", changed)

    def _on_started(self, state: _State, target: Target) -> None:
        state.started = True
        state.ready = state.ready or target.spec.readiness_probe is None
        if target.spec.readiness_probe:
            initial = Result.SUCCESS if state.ready else Result.FAILURE
            course = Course(target.spec.readiness_probe, initial, eager=not state.ready)
            self._run(state, target, course, "Readiness", self._readiness(state))
        if target.spec.liveness_probe:
            course = Course(target.spec.liveness_probe, Result.SUCCESS, last=_FAILURE)
            self._run(state, target, course, "Liveness", self._liveness(state, target))

    def _readiness(self, state: _State) -> Callable[[Result, str], None]:
        def changed(result: Result, _why: str) -> None:
            state.ready = result is Result.SUCCESS
            self._changed()

        return changed

    def _liveness(self, state: _State, target: Target) -> Callable[[Result, str], None]:
        def changed(result: Result, why: str) -> None:
            if result is Result.FAILURE:
                self._fall_sick(state, target, "liveness", why)
            self._changed()

        return changed

    def _fall_sick(self, state: _State, target: Target, kind: str, _why: str) -> None:
        state.sick = f"Container {target.spec.name} failed {kind} probe, will be restarted"

    def _run(
        self,
        state: _State,
        target: Target,
        course: Course,
        kind: str,
        changed: Callable[[Result, str], None],
    ) -> None:
        def failed(why: str) -> None:
            self._told(kind, target.spec.name, why)

        work = probe_for_ever(self._asker, target, course, changed, failed)
        state.tasks.append(asyncio.create_task(work))

    def _end(self, state: _State) -> None:
        for task in state.tasks:
            task.cancel()

    def close(self) -> None:
        """End all probes."""
        for state in self._states.values():
            self._end(state)
        self._states.clear()


def _known(pod: Pod, container_id: str) -> _State:
    """What an earlier agent published: a restart of the agent makes no Pod unready."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    for status in statuses:
        if (status.container_id or "").endswith(f"//{container_id}"):
            return _State(started=bool(status.started), ready=status.ready)
    return _State()
