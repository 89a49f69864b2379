"""A history: calls of clients on keys, each with the time it took, and streams of watches.

Each written value is another one, so a value names the write that it came from. Times are seconds
of one monotonic clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf


class Verb(StrEnum):
    """What a call asks for."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"


class Outcome(StrEnum):
    """What a client knows of a call's end; after UNKNOWN it may have been done, or may yet be."""

    DONE = "done"
    EXISTS = "exists"
    ABSENT = "absent"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One call on one key.

    ``value`` is what it wrote or read (None: nothing there); ``expected`` the value that its
    condition names, None without one; ``revision`` that of its value, 0 if the answer has none.
    """

    key: str
    verb: Verb
    outcome: Outcome
    begun: float
    ended: float = inf
    value: str | None = None
    expected: str | None = None
    revision: int = 0

    @property
    def done(self) -> bool:
        """Whether the client was told that it was done."""
        return self.outcome is Outcome.DONE

    @property
    def writes(self) -> bool:
        """Whether it asks for a change."""
        return self.verb is not Verb.READ


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of all keys, of one revision: key -> (value, revision)."""

    begun: float
    ended: float
    revision: int
    values: dict[str, tuple[str, int]]

    def calls(self, keys: Sequence[str]) -> list[Call]:
        """Return it as a read of each key."""
        return [
            Call(key, Verb.READ, Outcome.DONE, self.begun, self.ended, *_read(self.values, key))
            for key in keys
        ]


def _read(values: dict[str, tuple[str, int]], key: str) -> tuple[str | None, None, int]:
    value, revision = values.get(key, (None, 0))
    return value, None, revision


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a watch: ``type`` is ADDED, MODIFIED or DELETED (with the value that went)."""

    type: str
    key: str
    value: str
    revision: int


@dataclass(frozen=True, slots=True)
class Stream:
    """What one watcher heard after revision ``since``, also over several connections."""

    since: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All that the clients of one run know."""

    calls: tuple[Call, ...]
    lists: tuple[Listed, ...] = ()
    streams: tuple[Stream, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Each key of a call, in order."""
        return sorted({call.key for call in self.calls})
