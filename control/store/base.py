"""The protocol of a revisioned store.

It has the shape of etcd v3 (https://etcd.io/docs/v3.5/learning/api/): one revision counter for the
whole store, writes that are conditional on the last revision seen, and a log that can be read from
any revision that is not compacted.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Protocol

from msgspec import Struct

# The bytes of one commit's keys and values: etcd's --max-request-bytes.
MAX_BYTES = 1536 * 1024
ANY = 0  # the expected revision of a write that accepts any present revision


class StoreError(Exception):
    """A failed operation of a store; nothing was changed."""


class KeyExistsError(StoreError):
    """``Create`` of a key that exists."""

    def __init__(self, key: str) -> None:
        super().__init__(f"create {key}: it exists")
        self.key = key


class KeyNotFoundError(StoreError):
    """``Update`` or ``Delete`` of a key that does not exist."""

    def __init__(self, key: str) -> None:
        super().__init__(f"write {key}: it does not exist")
        self.key = key


class RevisionConflictError(StoreError):
    """``Update`` or ``Delete`` of a key that has another revision than expected."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"write {key}: at revision {actual}, expected {expected}")
        self.key = key
        self.actual = actual


class CompactedError(StoreError):
    """A read or a watch from a revision that is compacted."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted: the oldest is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevisionError(StoreError):
    """A read at a revision in the future."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future: the store is at {current}")
        self.revision = revision
        self.current = current


class TooLargeError(StoreError):
    """A commit of more than ``MAX_BYTES``."""

    def __init__(self, size: int) -> None:
        super().__init__(f"commit of {size} bytes: the limit is {MAX_BYTES}")


class StoreUnavailableError(StoreError):
    """A failure of the database (disk full, I/O error, closed); nothing was written."""


class StoreDamagedError(StoreUnavailableError):
    """The file holds something that was never written to it; the message says how to go on."""


class StoreFullError(StoreError):
    """A write beyond the store's quota; removals still work."""

    def __init__(self, quota: int) -> None:
        super().__init__(f"the store has reached its quota of {quota} bytes: remove objects")


class StoreConfigError(ValueError):
    """An unusable encryption configuration; the message names the file, the field and the cause."""


class StoreUrlError(ValueError):
    """A ``--store`` value that names no store; the message says what is allowed."""


class KeyValue(Struct, frozen=True):
    """A value and the revision of the commit that wrote it."""

    key: str
    value: bytes
    revision: int


class Create(Struct, frozen=True):
    """Write a key that must not exist."""

    key: str
    value: bytes


class Update(Struct, frozen=True):
    """Replace the value of a key that must be at revision ``expected``."""

    key: str
    value: bytes
    expected: int = ANY


class Delete(Struct, frozen=True):
    """Remove a key that must be at revision ``expected``."""

    key: str
    expected: int = ANY


Write = Create | Update | Delete


class StoreEvent(Struct, frozen=True):
    """The effect of a commit on one key; ``value`` None is a removal."""

    key: str
    revision: int
    value: bytes | None


Commit = tuple[StoreEvent, ...]  # all of one revision


def check(change: Write, current: int | None) -> None:
    """Check a write against the key's current revision, None for an absent key.

    Raises KeyExistsError, KeyNotFoundError or RevisionConflictError.
    """
    if isinstance(change, Create):
        if current is not None:
            raise KeyExistsError(change.key)
    elif current is None:
        raise KeyNotFoundError(change.key)
    elif change.expected not in (current, ANY):
        raise RevisionConflictError(change.key, change.expected, current)


def check_size(changes: Iterable[Write]) -> None:
    """Refuse a commit with too many bytes of keys and values; raises TooLargeError."""
    size = sum(
        len(change.key) + (0 if isinstance(change, Delete) else len(change.value))
        for change in changes
    )
    if size > MAX_BYTES:
        raise TooLargeError(size)


def events_of(changes: Iterable[Write], revision: int) -> Commit:
    """Return the events of writes that are committed at a revision."""
    return tuple(
        StoreEvent(change.key, revision, None if isinstance(change, Delete) else change.value)
        for change in changes
    )


class Heard(Struct, frozen=True):
    """What a watch has brought: events in order, and with them all there are up to ``revision``."""

    events: Commit
    revision: int


class StorePage(Struct, frozen=True):
    """A page of keys in order, as of ``revision``; ``more`` is True if keys follow."""

    records: tuple[KeyValue, ...]
    revision: int
    more: bool = False


class Store(Protocol):
    """One log of commits. Revisions grow with every commit.

    All methods belong to one event loop. A finished ``commit`` is as durable as the implementation
    promises, and every later read sees it.
    """

    @property
    def removes_events(self) -> bool:
        """True if the store itself removes Events an hour after their last write."""
        ...

    @property
    def revision(self) -> int:
        """The revision of the last commit that watchers have heard of."""
        ...

    @property
    def compacted(self) -> int:
        """The newest compacted revision; 0 at first."""
        ...

    async def newest(self) -> int:
        """Return the revision of the last commit that anybody has finished before this call.

        It differs from ``revision`` where several processes write to one store. Raises
        StoreUnavailableError.
        """
        ...

    async def get(self, key: str) -> KeyValue | None:
        """Return the present value of a key; None if it is absent."""
        ...

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        """Return the keys that start with ``prefix``, in order, after the key ``after``.

        ``limit`` 0 is no limit, ``revision`` 0 the present one. Raises CompactedError or
        FutureRevisionError.
        """
        ...

    async def commit(self, *changes: Write) -> int:
        """Do all writes or none, and return their common revision; a key may appear once.

        Raises KeyExistsError, KeyNotFoundError, RevisionConflictError, TooLargeError,
        StoreFullError or StoreUnavailableError.
        """
        ...

    def watch(self, prefix: str, since: int) -> AsyncGenerator[Heard, None]:
        """Yield the events after revision ``since`` in order, in groups of whole commits.

        A group may be empty: the store has gone on, but nothing below ``prefix`` has changed.

        The iteration never ends by itself. It raises CompactedError if the events are compacted,
        and StoreUnavailableError once the store is closed.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history before ``revision``; reads at it and later still work.

        Raises FutureRevisionError.
        """
        ...

    async def close(self) -> None:
        """Finish pending operations and close files; later calls raise StoreUnavailableError."""
        ...
