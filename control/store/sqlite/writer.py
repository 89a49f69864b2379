"""The writing thread: commits that arrive together share one transaction and one fsync."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from msgspec import Struct

from control.store.base import StoreUnavailableError, Write
from control.store.sqlite.draft import Outcome
from control.store.sqlite.log import Log

# The maximum number of jobs in a transaction, which keeps every writer's wait short.
_GROUP = 256


class WriteJob(Struct, frozen=True):
    """A commit or, if ``compact`` is set, a compaction; ``done`` gets its revision."""

    done: asyncio.Future[int]
    changes: Sequence[Write] = ()
    compact: int = 0


Deliver = Callable[[Sequence[WriteJob], Sequence[Outcome]], None]


class LogWriter:
    """Take jobs from the event loop, and deliver their outcomes to it in order."""

    def __init__(self, log: Log, last: int, deliver: Deliver) -> None:
        self._log = log
        self._last = last
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[WriteJob | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: WriteJob) -> None:
        """Queue a job; ``close`` must not have been called."""
        self._jobs.put(job)

    async def close(self) -> None:
        """Finish the queued jobs and end the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        closing = False
        while not closing:
            group = self._next_group()
            jobs = [job for job in group if job is not None]
            closing = len(jobs) < len(group)
            outcomes = self._work(jobs)
            self._loop.call_soon_threadsafe(self._deliver, jobs, outcomes)

    def _next_group(self) -> list[WriteJob | None]:
        group = [self._jobs.get()]
        while len(group) < _GROUP and not self._jobs.empty():
            group.append(self._jobs.get())
        return group

    def _work(self, jobs: list[WriteJob]) -> list[Outcome]:
        writes = iter(self._write([job.changes for job in jobs if not job.compact]))
        return [self._compact(job.compact) if job.compact else next(writes) for job in jobs]

    def _write(self, group: list[Sequence[Write]]) -> list[Outcome]:
        if not group:
            return []
        try:
            outcomes = self._log.write(self._last, group)
        except StoreUnavailableError as err:
            return [err] * len(group)
        self._last += sum(isinstance(outcome, tuple) for outcome in outcomes)
        return outcomes

    def _compact(self, revision: int) -> Outcome:
        try:
            self._log.compact(revision)
        except StoreUnavailableError as err:
            return err
        return ()
