"""The actions of one Pod that are under way, and those that failed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from control.agent.pods import render
from control.agent.pods.actions import StepError
from control.agent.pods.backoff import Failure, failed
from control.api.pod import Pod

logger = logging.getLogger(__name__)


class StepTasks:
    """A task for each action under way, by its key; ``failures`` are by a container's name."""

    def __init__(
        self, pod: Callable[[], Pod], clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        """``wake`` is called when an action has ended."""
        self._pod, self._clock, self._wake = pod, clock, wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, Failure] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._tasks

    def get(self, key: str) -> "asyncio.Task[None] | None":
        """Return the task of an action that is under way."""
        return self._tasks.get(key)

    def launch(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin an action."""
        task = asyncio.create_task(self._guard(work), name=key)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    async def close(self) -> None:
        """Cancel all actions, and wait until they have stopped."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        self._wake()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Report a failed step, which is tried again later; a defect must not end the worker."""
        try:
            await work
        except StepError as err:
            before = self.failures.get(err.name)
            self.failures[err.name] = failed(before, err.reason, str(err), self._clock())
            if before is None or before.message != str(err):  # logged once, not at every try
                logger.warning("Pod %s: %s", render.reference(self._pod()), err)
        except Exception:
            before = self.failures.get("")
            text = "see the agent's log"
            self.failures[""] = failed(before, "InternalError", text, self._clock())
            logger.exception("Pod %s: defect", render.reference(self._pod()))
