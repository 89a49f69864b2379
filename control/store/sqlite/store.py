"""The embedded store: an SQLite file behind the ``Store`` protocol.

One thread writes and one reads; the event loop only passes jobs and results. With
``synchronous=FULL`` an acknowledged commit survives a power cut, as in etcd. With ``NORMAL`` it
survives a kill -9 of the process, not a crash of the machine, and saves the fsync.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from control.store.base import (
    Commit,
    CompactedError,
    FutureRevisionError,
    Heard,
    KeyValue,
    StoreDamagedError,
    StoreError,
    StorePage,
    StoreUnavailableError,
    Write,
    check_size,
)
from control.store.recent import RecentCommits, matching
from control.store.sqlite.draft import Outcome
from control.store.sqlite.files import StoreFiles
from control.store.sqlite.log import QUOTA, Log, create, last_revision
from control.store.sqlite.writer import LogWriter, WriteJob

_T = TypeVar("_T")

# A killed server holds its lock until the kernel has reaped it.
_LOCK_WAIT = 5.0
_LOCK_PAUSE = 0.05
# The revisions that a watcher which is far behind reads at once.
_STRIDE = 1000


class SqliteStore:
    """A ``control.store.base.Store`` in a file; make one with ``open``."""

    removes_events = False

    def __init__(self, path: Path, lock: int, synchronous: str, quota: int) -> None:
        self._lock = lock
        self._files = StoreFiles(path, survives=synchronous == "FULL")
        if (found := last_revision(path)) is not None:  # if it is, the next lines say why
            self._files.check(found)
        self._log = Log(path, synchronous=synchronous, quota=quota, files=self._files)
        self._log.verify()
        last, self._compacted = self._log.bounds()
        self._files.opened(last)
        self._reading = Log(path)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._recent = RecentCommits(last)
        self._writer = LogWriter(self._log, last, self._deliver)
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, synchronous: str = "FULL", quota: int = QUOTA) -> Self:
        """Open or create the file for this process alone.

        Raises StoreUnavailableError, and StoreDamagedError if not all of it can be read.
        """
        path = _real(path)
        if StoreFiles(path).are_absent():
            create(path)
        lock = await _take_lock(path)
        try:
            _check_not_empty(path, lock)
            return cls(path, lock, synchronous, quota)
        except StoreError:
            os.close(lock)
            raise

    @property
    def revision(self) -> int:
        return self._recent.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def newest(self) -> int:
        return self.revision

    async def get(self, key: str) -> KeyValue | None:
        return await self._read(lambda: self._reading.get(key))

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        at = revision or self.revision
        if at > self.revision:
            raise FutureRevisionError(at, self.revision)
        count = limit + 1 if limit else -1
        found = await self._read(lambda: self._reading.page(prefix, after, at, count))
        self._check_history(at)
        if limit and len(found) > limit:
            return StorePage(tuple(found[:limit]), at, more=True)
        return StorePage(tuple(found), at)

    async def commit(self, *changes: Write) -> int:
        self._check_open()
        check_size(changes)
        job = WriteJob(asyncio.get_running_loop().create_future(), changes)
        self._writer.submit(job)
        return await job.done

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[Heard, None]:
        seen = since
        while True:
            self._check_open()
            self._check_history(seen)
            commits, reached = await self._after(seen)
            if reached > seen:
                seen = reached
                yield Heard(matching(commits, prefix), seen)
            await self._recent.wait(seen)

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self.revision:
            raise FutureRevisionError(revision, self.revision)
        if revision <= self._compacted:
            return
        # Set it first: a read that runs during the compaction then knows that it saw gaps.
        self._compacted = revision
        job = WriteJob(asyncio.get_running_loop().create_future(), compact=revision)
        self._writer.submit(job)
        await job.done

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._reader.shutdown)
        self._recent.wake()
        self._reading.close()
        self._log.close()
        self._files.closed()
        os.close(self._lock)

    async def _after(self, seen: int) -> tuple[Sequence[Commit], int]:
        """Return commits after a revision, and the revision reached: from memory or the file."""
        commits = self._recent.after(seen)
        if commits is not None:
            return commits, max(seen, self.revision)
        to = min(seen + _STRIDE, self.revision)
        events = await self._read(lambda: self._reading.events(seen, to))
        self._check_history(seen)
        return [events], to

    async def _read(self, read: Callable[[], _T]) -> _T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    def _deliver(self, jobs: Sequence[WriteJob], outcomes: Sequence[Outcome]) -> None:
        """Deliver the writer's results: first to watchers, then to the callers of ``commit``."""
        for outcome in outcomes:
            if isinstance(outcome, tuple) and outcome:
                self._recent.append(outcome)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.done.done():  # the caller was cancelled
                continue
            if isinstance(outcome, StoreError):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome[0].revision if outcome else 0)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    def _check_history(self, revision: int) -> None:
        if revision < self._compacted:
            raise CompactedError(revision, self._compacted)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as err:  # a loop of symbolic links
        raise StoreUnavailableError(f"open store {path}: {err}") from err


def _check_not_empty(path: Path, lock: int) -> None:
    """Refuse a file without contents: no store has ever been like that."""
    if os.fstat(lock).st_size == 0:
        raise StoreDamagedError(
            f"store {path} is an empty file: it was cut. Restore a copy of it, or remove it to"
            " begin with an empty cluster"
        )


async def _take_lock(path: Path) -> int:
    """Lock the file and return its descriptor; raises StoreUnavailableError if it stays locked.

    The lock is the file's, whatever name leads to it. It is flock(2), which SQLite does not use.
    The descriptor must stay open as long as SQLite: closing it drops SQLite's own fcntl(2) locks.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as err:
        raise StoreUnavailableError(f"open store {path}: {err.strerror}") from err
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            if time.monotonic() > deadline:
                os.close(lock)
                raise StoreUnavailableError(
                    f"store {path}: another API server is using it"
                ) from err
            await asyncio.sleep(_LOCK_PAUSE)
        else:
            return lock
