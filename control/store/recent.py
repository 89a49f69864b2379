"""The newest part of a store's log in memory: how watchers follow it without reading the disk."""

import asyncio
from collections import deque
from collections.abc import Iterable

from control.store.base import Commit


class RecentCommits:
    """The last commits, and a signal for those who wait for the next one."""

    def __init__(self, revision: int, *, keep: int = 1024) -> None:
        self._commits: deque[Commit] = deque(maxlen=keep)
        self._changed = asyncio.Event()
        self._start = revision  # every commit after this one is in `_commits`
        self.revision = revision

    def append(self, commit: Commit) -> None:
        """Note a commit and wake every waiter."""
        if len(self._commits) == self._commits.maxlen:
            self._start = self._commits[0][0].revision
        self._commits.append(commit)
        self.revision = commit[0].revision
        self.wake()

    def wake(self) -> None:
        """Let every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, revision: int) -> list[Commit] | None:
        """The commits after a revision; None if some of them are no longer here."""
        if revision < self._start:
            return None
        found: list[Commit] = []
        for commit in reversed(self._commits):
            if commit[0].revision <= revision:
                break
            found.append(commit)
        return found[::-1]

    async def wait(self, revision: int) -> None:
        """Return once there is something after ``revision``, or on ``wake``."""
        if self.revision <= revision:
            await self._changed.wait()


def matching(commits: Iterable[Commit], prefix: str) -> Commit:
    """The events of these commits whose key starts with a prefix, in order."""
    return tuple(event for commit in commits for event in commit if event.key.startswith(prefix))
