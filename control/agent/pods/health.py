"""The health of one Pod's containers: runs their probes and keeps the results."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from control.agent.pods.probes import (
    Prober,
    ProbeResult,
    ProbeSchedule,
    ProbeTarget,
    probe_for_ever,
)
from control.api.pod import Pod
from control.runtime.base import Container, Phase

# The results that end a row of probes: a container that failed is restarted.
_FAILURE = frozenset({ProbeResult.FAILURE})
_EITHER = frozenset({ProbeResult.SUCCESS, ProbeResult.FAILURE})

OnFailure = Callable[[str, str, str], None]  # kind of probe, container name, cause


@dataclass
class _State:
    """The results and running probes of one container."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    started: bool = False
    ready: bool = False
    sick: str = ""


class PodHealth:
    """Starts and ends probes with their containers; calls ``changed`` for every new result."""

    def __init__(self, prober: Prober, changed: Callable[[], None], on_failure: OnFailure) -> None:
        self._prober, self._changed, self._on_failure = prober, changed, on_failure
        self._states: dict[str, _State] = {}

    @property
    def started(self) -> frozenset[str]:
        """The IDs of containers whose startup probe has succeeded, or that have none."""
        return frozenset(key for key, state in self._states.items() if state.started)

    @property
    def ready(self) -> frozenset[str]:
        """The IDs of containers whose readiness probe succeeds, or that have none."""
        return frozenset(
            key for key, state in self._states.items() if state.started and state.ready
        )

    @property
    def sick(self) -> dict[str, str]:
        """The IDs of containers that must be restarted, with the reason."""
        return {key: state.sick for key, state in self._states.items() if state.sick}

    def blame(self, container_id: str, why: str) -> None:
        """Mark a container for a restart for a reason other than a probe."""
        self._states.setdefault(container_id, _State()).sick = why

    def follow(self, pod: Pod, running: dict[str, Container], address: str) -> None:
        """Probe exactly these running containers (by ID)."""
        specs = {spec.name: spec for spec in (*pod.spec.containers, *pod.spec.init_containers)}
        for key in self._states.keys() - running.keys():
            self._end(self._states.pop(key))
        for key, container in running.items():
            if container.phase is Phase.RUNNING and key not in self._states:
                state = self._states[key] = _known(pod, key)
                self._begin(state, ProbeTarget(key, specs[container.name], address))

    def _begin(self, state: _State, target: ProbeTarget) -> None:
        startup = target.spec.startup_probe
        if startup is None or state.started:
            self._on_started(state, target)
            return

        def changed(result: ProbeResult, why: str) -> None:
            if result is ProbeResult.SUCCESS:
                self._on_started(state, target)
            else:
                self._fall_sick(state, target, "startup", why)
            self._changed()

        schedule = ProbeSchedule(startup, ProbeResult.UNKNOWN, last=_EITHER)
        self._run(state, target, schedule, "Startup", changed)

    def _on_started(self, state: _State, target: ProbeTarget) -> None:
        state.started = True
        state.ready = state.ready or target.spec.readiness_probe is None
        if target.spec.readiness_probe:
            initial = ProbeResult.SUCCESS if state.ready else ProbeResult.FAILURE
            schedule = ProbeSchedule(target.spec.readiness_probe, initial, eager=not state.ready)
            self._run(state, target, schedule, "Readiness", self._readiness(state))
        if target.spec.liveness_probe:
            schedule = ProbeSchedule(target.spec.liveness_probe, ProbeResult.SUCCESS, last=_FAILURE)
            self._run(state, target, schedule, "Liveness", self._liveness(state, target))

    def _readiness(self, state: _State) -> Callable[[ProbeResult, str], None]:
        def changed(result: ProbeResult, _why: str) -> None:
            state.ready = result is ProbeResult.SUCCESS
            self._changed()

        return changed

    def _liveness(self, state: _State, target: ProbeTarget) -> Callable[[ProbeResult, str], None]:
        def changed(result: ProbeResult, why: str) -> None:
            if result is ProbeResult.FAILURE:
                self._fall_sick(state, target, "liveness", why)
            self._changed()

        return changed

    def _fall_sick(self, state: _State, target: ProbeTarget, kind: str, _why: str) -> None:
        state.sick = f"Container {target.spec.name} failed {kind} probe, will be restarted"

    def _run(
        self,
        state: _State,
        target: ProbeTarget,
        schedule: ProbeSchedule,
        kind: str,
        changed: Callable[[ProbeResult, str], None],
    ) -> None:
        def failed(why: str) -> None:
            self._on_failure(kind, target.spec.name, why)

        work = probe_for_ever(self._prober, target, schedule, changed, failed)
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
    """Take over what an earlier agent published: a restart of the agent makes no Pod unready."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    for status in statuses:
        if (status.container_id or "").endswith(f"//{container_id}"):
            return _State(started=bool(status.started), ready=status.ready)
    return _State()
