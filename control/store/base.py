"""The revisioned store: what the API server needs of its database, and no more.

The shape is etcd v3's (https://etcd.io/docs/v3.5/learning/api/): one counter for the whole store,
writes that are conditional on the revision last seen, and a log that can be read from any
revision that has not been compacted away.
"""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Protocol

ANY = 0  # as the expected revision of a change: whatever it is, as long as the key is there


class StoreError(Exception):
    """A store could not do what was asked; nothing was changed."""


class KeyExistsError(StoreError):
    """``Create`` of a key that is there."""

    def __init__(self, key: str) -> None:
        super().__init__(f"create {key}: it exists")
        self.key = key


class KeyNotFoundError(StoreError):
    """``Update`` or ``Delete`` of a key that is not there."""

    def __init__(self, key: str) -> None:
        super().__init__(f"write {key}: it does not exist")
        self.key = key


class RevisionConflictError(StoreError):
    """``Update`` or ``Delete`` of a key that was changed meanwhile."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"write {key}: at revision {actual}, expected {expected}")
        self.key = key
        self.actual = actual


class CompactedError(StoreError):
    """A read or a watch from a revision whose history is gone."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted: the oldest is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevisionError(StoreError):
    """A read at a revision that has not happened yet."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future: the store is at {current}")
        self.revision = revision
        self.current = current


class StoreUnavailableError(StoreError):
    """The database refused: disk full, input/output error, closed. Nothing was written."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A value and the revision of the commit that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Create:
    """Write a key that must not exist."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the value of a key that must be at revision ``expected``."""

    key: str
    value: bytes
    expected: int = ANY


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key that must be at revision ``expected``."""

    key: str
    expected: int = ANY


Write = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """What a commit did to one key: ``value`` None is a removal."""

    key: str
    revision: int
    value: bytes | None


Commit = tuple[StoreEvent, ...]  # all of one revision


def check(change: Write, current: int | None) -> None:
    """Whether a change may be made to a key at a revision, None if it is not there.

    Raises KeyExistsError, KeyNotFoundError or RevisionConflictError.
    """
    if isinstance(change, Create):
        if current is not None:
            raise KeyExistsError(change.key)
    elif current is None:
        raise KeyNotFoundError(change.key)
    elif change.expected not in (current, ANY):
        raise RevisionConflictError(change.key, change.expected, current)


def events_of(changes: Iterable[Write], revision: int) -> Commit:
    """What these changes do, done at a revision."""
    return tuple(
        StoreEvent(change.key, revision, None if isinstance(change, Delete) else change.value)
        for change in changes
    )


@dataclass(frozen=True, slots=True)
class StorePage:
    """A part of a listing in key order, as of ``revision``; ``more`` if keys follow."""

    records: tuple[KeyValue, ...]
    revision: int
    more: bool = False


class Store(Protocol):
    """One log of commits. Revisions start at 1 with the first and grow with every commit.

    All methods belong to one event loop. What a finished ``commit`` wrote is durable as far as the
    implementation promises, and every later read sees it.
    """

    @property
    def revision(self) -> int:
        """The revision of the last commit; 0 for an empty store."""
        ...

    @property
    def compacted(self) -> int:
        """The newest revision whose history is gone; 0 at first."""
        ...

    async def get(self, key: str) -> KeyValue | None:
        """The value of a key now; None if it is not there."""
        ...

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        """Keys that start with ``prefix`` in order, past key ``after``; 0 means no limit, now.

        Raises CompactedError or FutureRevisionError for a revision that cannot be read.
        """
        ...

    async def commit(self, *changes: Write) -> int:
        """Do all changes or none, and return their one revision; a key may appear once.

        Raises KeyExistsError, KeyNotFoundError, RevisionConflictError or StoreUnavailableError.
        """
        ...

    def watch(self, prefix: str, since: int) -> AsyncGenerator[Commit, None]:
        """Every event after revision ``since``, in order, one or more whole commits at a time.

        It never ends by itself. Iteration raises CompactedError when it needs history that is gone,
        and StoreUnavailableError once the store is closed.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget history up to ``revision``: reads at it and later still work; never goes back.

        Raises FutureRevisionError.
        """
        ...

    async def close(self) -> None:
        """Finish what was asked and let go of files; later calls raise StoreUnavailableError."""
        ...
