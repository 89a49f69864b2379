"""A store in memory, without durability: for tests, and as the shortest implementation."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator

from control.store.base import (
    Commit,
    CompactedError,
    FutureRevisionError,
    Heard,
    KeyValue,
    StoreEvent,
    StorePage,
    StoreUnavailableError,
    Write,
    check,
    check_size,
    events_of,
)
from control.store.recent import RecentCommits, matching


class MemoryStore:
    """A store that keeps each key's versions since the last compaction in a dict."""

    removes_events = False

    def __init__(self) -> None:
        self._versions: dict[str, list[StoreEvent]] = {}
        self._keys: list[str] = []  # sorted
        self._log: list[Commit] = []
        self._recent = RecentCommits(0)
        self._compacted = 0
        self._closed = False

    @property
    def revision(self) -> int:
        return self._recent.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def newest(self) -> int:
        return self.revision

    async def get(self, key: str) -> KeyValue | None:
        self._check_open()
        return self._at(key, self.revision)

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        self._check_open()
        at = revision or self.revision
        self._check_readable(at)
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        found: list[KeyValue] = []
        for key in self._keys[start:]:
            if not key.startswith(prefix) or (limit and len(found) > limit):
                break
            if record := self._at(key, at):
                found.append(record)
        if limit and len(found) > limit:
            return StorePage(tuple(found[:limit]), at, more=True)
        return StorePage(tuple(found), at)

    async def commit(self, *changes: Write) -> int:
        self._check_open()
        check_size(changes)
        for change in changes:
            current = self._at(change.key, self.revision)
            check(change, current.revision if current else None)
        commit = events_of(changes, self.revision + 1)
        for event in commit:
            self._write(event)
        self._log.append(commit)
        self._recent.append(commit)
        return self.revision

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[Heard, None]:
        seen = since
        while True:
            self._check_open()
            if seen < self._compacted:
                raise CompactedError(seen, self._compacted)
            later = self._log[bisect_right(self._log, seen, key=_revision) :]
            seen = max(seen, self.revision)
            if later:
                yield Heard(matching(later, prefix), seen)
            await self._recent.wait(seen)

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self.revision:
            raise FutureRevisionError(revision, self.revision)
        self._compacted = max(self._compacted, revision)
        self._log = [commit for commit in self._log if commit[0].revision > self._compacted]
        kept = {key: _keep(events, self._compacted) for key, events in self._versions.items()}
        self._versions = {key: events for key, events in kept.items() if events}
        self._keys = sorted(self._versions)

    async def close(self) -> None:
        self._closed = True
        self._recent.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    def _check_readable(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevisionError(revision, self.revision)
        if revision < self._compacted:
            raise CompactedError(revision, self._compacted)

    def _at(self, key: str, revision: int) -> KeyValue | None:
        for event in reversed(self._versions.get(key, ())):
            if event.revision <= revision:
                return None if event.value is None else KeyValue(key, event.value, event.revision)
        return None

    def _write(self, event: StoreEvent) -> None:
        if event.key not in self._versions:
            self._versions[event.key] = []
            insort(self._keys, event.key)
        self._versions[event.key].append(event)


def _revision(commit: Commit) -> int:
    return commit[0].revision


def _keep(events: list[StoreEvent], compacted: int) -> list[StoreEvent]:
    """Return the newest version before the compaction, unless a removal, and later ones."""
    later = [event for event in events if event.revision > compacted]
    earlier = [event for event in events if event.revision <= compacted]
    return [event for event in earlier[-1:] if event.value is not None] + later
