"""Deadlines that are all equally long, at the cost of two operations on a dictionary each.

They end in the order in which they began, so one timer of the event loop waits for the oldest. A
timer for each request, as ``asyncio.timeout`` has, costs a request more than its authorization.
"""

import asyncio
from types import TracebackType


class Deadlines:
    """The deadlines that run, the oldest first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: dict[Deadline, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, deadline: "Deadline") -> None:
        """Let a deadline run."""
        loop = asyncio.get_running_loop()
        self._ends[deadline] = end = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(end, self._expire)

    def stop(self, deadline: "Deadline") -> None:
        """Let a deadline run no more."""
        self._ends.pop(deadline, None)

    def _expire(self) -> None:
        """End those that are due, and wait for the next."""
        loop, self._timer = asyncio.get_running_loop(), None
        now = loop.time()
        for deadline, end in tuple(self._ends.items()):
            if end > now:
                self._timer = loop.call_at(end, self._expire)
                break
            del self._ends[deadline]
            deadline.expire()


class Deadline:
    """Cancels the task that is in its ``with`` block for too long, which raises TimeoutError."""

    __slots__ = ("_all", "_cancelling", "_expired", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._all = deadlines
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task")
        self._task, self._cancelling = task, task.cancelling()
        self._all.start(self)

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, _: TracebackType | None
    ) -> None:
        self._all.stop(self)
        # As asyncio.timeout: somebody else may have cancelled the task, too.
        ended = self._expired and self._task.uncancel() <= self._cancelling
        if ended and kind is asyncio.CancelledError:
            raise TimeoutError from err

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self._task.cancel()
