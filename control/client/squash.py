"""Combine repeated Events, as client-go's EventCorrelator does. Pure.

A repeat increases ``count``. Ten different messages for the same reason within ten minutes become
one combined Event. One source may write 25 Events about one object at once, then one in five
minutes. Source: client-go, tools/record/events_cache.go.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from control.api.service import ObjectReference

COMBINE_AT = 10
COMBINE_WITHIN = 600.0
BURST = 25
REFILL = 1 / 300
REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class EventNote:
    """A report about an object, before it is combined with others."""

    about: ObjectReference
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    action: str | None = None
    related: ObjectReference | None = None


@dataclass(frozen=True, slots=True)
class EventReport:
    """An Event to write: a new one if ``count`` is 1, else a higher count of an old one."""

    note: EventNote
    name: str
    count: int
    first: float
    last: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclass(slots=True)
class _Group:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


class Squasher:
    """Remember the latest 4096 reports, messages and rates, and combine new reports."""

    def __init__(self) -> None:
        self._written: _Latest[EventReport] = _Latest()
        self._groups: _Latest[_Group] = _Latest()
        self._buckets: _Latest[_Bucket] = _Latest()

    def observe(self, note: EventNote, now: float) -> EventReport | None:
        """Return the Event to write for a note at ``now`` (seconds since the epoch), if any."""
        key, note = self._combine(note, now)
        if not self._allowed(note, now):
            return None
        before = self._written.get(key)
        if before is None:
            report = EventReport(note, f"{note.about.name}.{int(now * 1e9):x}", 1, now, now)
        else:
            report = replace(before, note=note, count=before.count + 1, last=now)
        self._written.put(key, report)
        return report

    def forget(self, report: EventReport) -> None:
        """Forget a report whose Event does not exist: its next repeat creates a new Event."""
        self._written.drop(lambda known: known.name == report.name)

    def _combine(self, note: EventNote, now: float) -> tuple[str, EventNote]:
        kind = f"{_object_key(note.about)}|{note.type}|{note.reason}"
        group = self._groups.get(kind)
        if group is None or now - group.last > COMBINE_WITHIN:
            group = _Group()
            self._groups.put(kind, group)
        group.last = now
        if len(group.messages) < COMBINE_AT:
            group.messages.add(note.message)
        if len(group.messages) < COMBINE_AT:
            return f"{kind}|{note.message}", note
        message = f"(combined from similar events): {note.message}"
        return kind, replace(note, message=message)

    def _allowed(self, note: EventNote, now: float) -> bool:
        key = _object_key(note.about)
        bucket = self._buckets.get(key) or _Bucket(BURST, now)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.filled) * REFILL)
        bucket.filled = now
        self._buckets.put(key, bucket)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _object_key(about: ObjectReference) -> str:
    return f"{about.kind}|{about.namespace}|{about.name}|{about.uid}|{about.field_path}"


V = TypeVar("V")


class _Latest(Generic[V]):
    """A mapping that drops the least recently used key when it is full."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: str, value: V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > REMEMBERED:
            self._items.popitem(last=False)

    def drop(self, matches: Callable[[V], bool]) -> None:
        for key in [key for key, value in self._items.items() if matches(value)]:
            del self._items[key]
