"""Copies a store into an empty one of any kind, so that clients of the old one go on with the new.

Objects keep their contents and UIDs. Revisions must not go back, since clients compare them: the
new store first counts up to the old one's revision. What happened before is compacted there, so
that who asks for it is told to list again (410 Gone), as after any compaction.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from control.store.base import (
    MAX_BYTES,
    Create,
    Delete,
    KeyValue,
    Store,
    StoreError,
    StorePage,
    Update,
    Write,
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_SCRATCH = "/podwire.dev/copy/"
_AT_ONCE = 64
_PAGE = 500
_MOST_WRITES = 100  # of one commit; etcd takes 128
_MOST_BYTES = MAX_BYTES // 2  # of one commit, unless a single value is larger


class Source(Protocol):
    """What is read of a store, or of a snapshot of one."""

    async def get(self, key: str) -> KeyValue | None:
        """See ``Store.get``."""
        ...

    async def newest(self) -> int:
        """See ``Store.newest``."""
        ...

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        """See ``Store.list``."""
        ...


class NotEmptyError(StoreError):
    """The store to copy into has keys; the text names one."""


async def copy(source: Source, target: Store, tell: Progress = lambda *_: None) -> int:
    """Copy all keys of ``source``, and return their number; raises NotEmptyError, StoreError."""
    if found := (await target.list("/", limit=1)).records:
        raise NotEmptyError(
            f"the store to copy into has keys already, such as {found[0].key}: choose another path "
            "or prefix, or remove what a copy that was cut short has left"
        )
    revision = await source.newest()
    await _count_up(target, revision, tell)
    copied = await _copy_keys(source, target, revision, tell)
    await target.compact(target.revision)
    return copied


async def _count_up(target: Store, revision: int, tell: Progress) -> None:
    """Write and remove scratch keys until a store has reached a revision."""
    keys = [f"{_SCRATCH}{number}" for number in range(_AT_ONCE)]
    start = target.revision
    if start >= revision:
        return
    await asyncio.gather(*(target.commit(Create(key, b"")) for key in keys))
    while (left := revision - target.revision) > 0:
        await asyncio.gather(*(target.commit(Update(key, b"")) for key in keys[:left]))
        tell("revisions", min(target.revision, revision) - start, revision - start)
    await target.commit(*(Delete(key) for key in keys))


async def _copy_keys(source: Source, target: Store, revision: int, tell: Progress) -> int:
    """Copy the keys as they were at a revision, in order."""
    copied, after, more = 0, "", True
    while more:
        page = await source.list("/", limit=_PAGE, after=after, revision=revision)
        for group in _groups(page.records):
            await target.commit(*group)
            copied += len(group)
            tell("keys", copied, copied + (1 if page.more else 0))
        after, more = page.records[-1].key if page.records else "", page.more
    return copied


def _groups(records: tuple[KeyValue, ...]) -> list[list[Write]]:
    """Divide keys into commits that every store takes."""
    groups: list[list[Write]] = []
    size = 0
    for record in records:
        length = len(record.key) + len(record.value)
        if not groups or len(groups[-1]) >= _MOST_WRITES or size + length > _MOST_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(Create(record.key, record.value))
        size += length
    return groups
