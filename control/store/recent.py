"""The newest commits of a store in memory, for watchers to follow without reading the disk."""

import asyncio
from collections import deque
from collections.abc import Iterable

from control.store.base import Commit

KEEP_BYTES = 16 * 1024 * 1024


def _size(commit: Commit) -> int:
    return sum(len(event.value or b"") for event in commit)


class RecentCommits:
    """The newest commits, and a signal for the next one."""

    def __init__(self, revision: int, *, keep: int = 1024, keep_bytes: int = KEEP_BYTES) -> None:
        self._commits: deque[Commit] = deque()
        self._keep, self._keep_bytes = keep, keep_bytes
        self._bytes = 0
        self._changed = asyncio.Event()
        self._start = revision  # all commits after this revision are in `_commits`
        self.revision = revision

    def append(self, commit: Commit) -> None:
        """Add a commit and wake all waiters."""
        self._commits.append(commit)
        self._bytes += _size(commit)
        while len(self._commits) > self._keep or self._bytes > self._keep_bytes:
            oldest = self._commits.popleft()
            self._start = oldest[0].revision
            self._bytes -= _size(oldest)
        self.revision = commit[0].revision
        self.wake()

    def advance(self, revision: int) -> None:
        """Note that the store has reached a revision without events of ours."""
        self.revision = max(self.revision, revision)
        self.wake()

    def restart(self, revision: int) -> None:
        """Forget all commits: what follows a revision comes next."""
        self._commits.clear()
        self._bytes = 0
        self._start = self.revision = revision
        self.wake()

    def wake(self) -> None:
        """Wake all waiters."""
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, revision: int) -> list[Commit] | None:
        """Return the commits after a revision; None if some are no longer in memory."""
        if revision < self._start:
            return None
        found: list[Commit] = []
        for commit in reversed(self._commits):
            if commit[0].revision <= revision:
                break
            found.append(commit)
        return found[::-1]

    async def wait(self, revision: int) -> None:
        """Wait for a commit after ``revision``, or for ``wake``."""
        if self.revision <= revision:
            await self._changed.wait()


def matching(commits: Iterable[Commit], prefix: str) -> Commit:
    """Return the events whose key starts with a prefix, in order."""
    return tuple(event for commit in commits for event in commit if event.key.startswith(prefix))
