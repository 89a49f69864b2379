"""Says how far a Pod's resize is: in its conditions, and in Events."""

from typing import Literal

from control.agent.pods import decide
from control.agent.pods.backoff import Failure
from control.agent.pods.context import WorkerContext
from control.agent.pods.facts import PodFacts
from control.agent.pods.resize_status import ResizeStatus, event_message
from control.api.pod import Pod

_WORDS = {"ResizeStarted": "started", "ResizeCompleted": "completed", "ResizeError": "error"}


class ResizeReport:
    """Keeps the conditions of one Pod, and records their changes."""

    def __init__(self, status: ResizeStatus, context: WorkerContext) -> None:
        self._status, self._context = status, context

    def defer(self, wanted: Pod, reason: str, message: str) -> None:
        """Say that a resize waits for room, or that it cannot be done."""
        generation, now = wanted.metadata.generation or 0, self._context.clock()
        if self._status.defer(reason, message, generation, now):
            self._record("Warning", f"Resize{reason}", wanted, generation, message)

    def begin(self, wanted: Pod, pod: Pod) -> None:
        """Say that a resize is allocated, and begins."""
        generation = wanted.metadata.generation or 0
        self._status.begin(generation, self._context.clock())
        self._record("Normal", "ResizeStarted", pod, generation)

    def follow(self, pod: Pod, facts: PodFacts, failure: Failure | None) -> None:
        """Note whether a resize goes on, failed, or is done."""
        status, now = self._status, self._context.clock()
        if decide.is_over(pod, facts):
            status.clear()
            return
        generation = pod.metadata.generation or 0
        if decide.is_resizing(pod, facts):
            status.go_on(generation, now)
            if failure and status.fail(failure.message, generation, now):
                done = status.in_progress
                generation = (done and done.observed_generation) or generation
                self._record("Warning", "ResizeError", pod, generation, failure.message)
        elif (done := status.in_progress) is not None:
            status.in_progress = None
            self._record("Normal", "ResizeCompleted", pod, done.observed_generation or generation)

    def _record(
        self,
        kind: Literal["Normal", "Warning"],
        reason: str,
        pod: Pod,
        generation: int,
        error: str = "",
    ) -> None:
        prefix = f"Pod resize {_WORDS.get(reason, reason.removeprefix('Resize'))}"
        self._context.record(pod, kind, reason, event_message(prefix, pod, generation, error))
