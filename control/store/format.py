"""The version of what a store has, so that a podwire refuses what it would read wrongly.

1  the first one; no key says it
2  Events in etcd have leases; etcd removes them, and no server does
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from control.store.base import (
    Create,
    KeyExistsError,
    KeyNotFoundError,
    KeyValue,
    RevisionConflictError,
    Store,
    StoreError,
    Update,
)

FORMAT = 2
KEY = "/podwire.dev/format"
_EVENTS = "/registry/core/events/"
_PAGE = 500


class FormatError(StoreError):
    """A store has a format that this podwire does not know; the text says which."""


class Readable(Protocol):
    """A store, or a snapshot of one."""

    async def get(self, key: str) -> KeyValue | None:
        """See ``Store.get``."""
        ...


async def format_of(store: Readable) -> int:
    """Return a store's format, at most ``FORMAT``; raises FormatError for a newer one."""
    found = await store.get(KEY)
    if found is None:
        return 1
    text = found.value[:20].decode(errors="replace")
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise FormatError(f"the store's key {KEY} is {text!r}, and no number: restore a copy")
    if int(text) > FORMAT:
        raise FormatError(
            f"the store has format {text}, of a newer podwire; this one knows up to {FORMAT}: "
            "use the newer one, or restore a snapshot from before its upgrade"
        )
    return int(text)


async def upgrade(store: Store) -> int:
    """Bring a store to ``FORMAT``, and return the format that it had.

    Each step may be done twice: one that was cut short is done again. Raises StoreError.
    """
    had = await format_of(store)
    for step in _STEPS[had - 1 :]:
        await step(store)
    if had < FORMAT:
        await _write(store, str(FORMAT).encode())
    return had


async def _write(store: Store, value: bytes) -> None:
    try:
        await store.commit(Create(KEY, value))
    except KeyExistsError:
        await store.commit(Update(KEY, value))


async def _lease_events(store: Store) -> None:
    """Write Events anew, by which they get leases; one that somebody else writes has its own."""
    if not store.removes_events:
        return
    async for record in _all(store, _EVENTS):
        with suppress(KeyNotFoundError, RevisionConflictError):
            await store.commit(Update(record.key, record.value, record.revision))


async def _all(store: Store, prefix: str) -> AsyncIterator[KeyValue]:
    after, more = "", True
    while more:
        page = await store.list(prefix, limit=_PAGE, after=after)
        for record in page.records:
            yield record
        after, more = page.records[-1].key if page.records else "", page.more


# The step at place i leads from format i + 1 to the next one.
_STEPS: tuple[Callable[[Store], Awaitable[None]], ...] = (_lease_events,)
