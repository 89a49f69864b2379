"""The conditions that say how far a Pod's resize is: PodResizePending and PodResizeInProgress.

Source: kubelet's status manager (pkg/kubelet/status) and pkg/kubelet/events/resize.go
"""

from typing import Any

import orjson

from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import rfc3339

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
TYPES = (PENDING, IN_PROGRESS)
DEFERRED, INFEASIBLE, ERROR = "Deferred", "Infeasible", "Error"


class ResizeStatus:
    """Both conditions of one Pod; a new agent goes on with those in the Pod's status."""

    def __init__(self, pod: Pod) -> None:
        found = {it.type: it for it in pod.status.conditions}
        self.pending: Condition | None = found.get(PENDING)
        self.in_progress: Condition | None = found.get(IN_PROGRESS)

    def conditions(self) -> list[Condition]:
        """Return those that are true."""
        return [it for it in (self.pending, self.in_progress) if it is not None]

    def defer(self, reason: str, message: str, generation: int, now: float) -> bool:
        """Note that a resize waits; return True if that is news."""
        before = self.pending
        self.pending = _made(PENDING, before, reason, message, generation, now)
        return before is None or (before.reason, before.observed_generation) != (
            reason,
            generation,
        )

    def begin(self, generation: int, now: float) -> None:
        """Note that a resize is allocated, and has to be done."""
        self.pending = None
        self.in_progress = _made(IN_PROGRESS, None, "", "", generation, now)

    def go_on(self, generation: int, now: float) -> None:
        """Note that something is still to be done."""
        if self.in_progress is None:
            self.in_progress = _made(IN_PROGRESS, None, "", "", generation, now)

    def fail(self, message: str, generation: int, now: float) -> bool:
        """Note why a resize could not be done; return True if that is news."""
        before = self.in_progress
        if before is not None and before.observed_generation is not None:
            generation = before.observed_generation
        made = _made(IN_PROGRESS, before, ERROR, message, generation, now)
        same = before is not None and (before.reason, before.message) == (ERROR, message)
        if not same:
            self.in_progress = made
        return not same

    def clear(self) -> None:
        """Forget both: the Pod has ended."""
        self.pending = self.in_progress = None


def _made(
    kind: str, before: Condition | None, reason: str, message: str, generation: int, now: float
) -> Condition:
    same = before is not None and (before.reason or "") == reason
    since = before.last_transition_time if same and before else rfc3339(now)
    return Condition(
        type=kind,
        status="True",
        reason=reason or None,
        message=message or None,
        last_probe_time=rfc3339(now),
        last_transition_time=since,
        observed_generation=generation,
    )


def event_message(prefix: str, pod: Pod, generation: int, error: str = "") -> str:
    """Return the text of an Event: what the Pod's containers ask for, as JSON."""
    summary: dict[str, Any] = {}
    for name, containers in (
        ("initContainers", pod.spec.init_containers),
        ("containers", pod.spec.containers),
    ):
        if containers:
            summary[name] = [
                {"name": it.name, "resources": _sorted(it.resources.wire())} for it in containers
            ]
    summary["generation"] = generation
    if error:
        summary["error"] = error
    return f"{prefix}: {orjson.dumps(summary).decode()}"


def _sorted(resources: dict[str, Any]) -> dict[str, Any]:
    amounts = {
        name: dict(sorted(resources[name].items()))
        for name in ("limits", "requests")
        if resources.get(name)
    }
    return amounts | ({"claims": resources["claims"]} if resources.get("claims") else {})
