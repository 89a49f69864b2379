"""The schedules of CronJobs: which texts are one, and their times. Pure.

The grammar and the meaning are those of github.com/robfig/cron/v3, ParseStandard, which upstream
uses: five fields, a name such as ``@daily``, or ``@every`` and a duration. Where clocks change, a
local time that does not exist is left out, and one that comes twice runs twice.

cronsim finds the times. Its own reading of five fields is Debian's (a step keeps the star, days
have the number 7, a left-out time runs late), so it is given six fields of plain numbers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_LONGEST = 1000  # characters: a list of every minute has some 170
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
MISSED_MAX = 100  # more are not counted, as upstream


class ScheduleError(ValueError):
    """A text that is no schedule; the message says why."""


@dataclass(frozen=True, slots=True)
class _Range:
    """The numbers of a field, both ends included, and the names of some of them."""

    low: int
    high: int
    names: Mapping[str, int]


def _named(names: str, first: int) -> Mapping[str, int]:
    return {name: number for number, name in enumerate(names.split(), first)}


_MONTHS = _named("jan feb mar apr may jun jul aug sep oct nov dec", 1)
_DAYS = _named("sun mon tue wed thu fri sat", 0)
# Minute, hour, day of the month, month, day of the week.
_RANGES = (
    _Range(0, 59, {}),
    _Range(0, 23, {}),
    _Range(1, 31, {}),
    _Range(1, 12, _MONTHS),
    _Range(0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of a schedule, in seconds since the epoch."""

    fields: str  # six, for cronsim; empty for an interval, and where no time can be
    every: float = 0.0
    zone: str = "UTC"

    def after(self, moment: float) -> float | None:
        """Return the first time after a moment; None where there is none (30 February)."""
        if self.every:
            return float(int(moment + self.every))
        return next(self._times(moment), None)

    def last(self, since: float, now: float) -> tuple[float | None, int]:
        """Return the last time in (since, now], and how many; over ``MISSED_MAX`` is one more."""
        if self.every:
            count = int((now - since) // self.every)
            return (since + count * self.every if count > 0 else None), min(count, MISSED_MAX + 1)
        count = 0
        for moment in self._times(since):
            if moment > now or count > MISSED_MAX:
                break
            count += 1
        return (next(self._times(now + 1, reverse=True)) if count else None), count

    def _times(self, moment: float, *, reverse: bool = False) -> Iterator[float]:
        if self.fields:
            start = datetime.fromtimestamp(int(moment), ZoneInfo(self.zone))
            for found in CronSim(self.fields, start, reverse=reverse):
                yield found.timestamp()


@lru_cache(maxsize=1024)
def parse_schedule(text: str, zone: str = "UTC") -> Schedule:
    """Read a schedule; raises ScheduleError."""
    if len(text) > _LONGEST:
        raise ScheduleError(f"must be no more than {_LONGEST} characters")
    if text.startswith(("TZ=", "CRON_TZ=")):
        raise ScheduleError("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    if text.startswith(_EVERY):
        return Schedule("", _seconds(text.removeprefix(_EVERY)), zone)
    if text.startswith("@") and text not in _NAMED:
        raise ScheduleError(f"unrecognized descriptor: {text}")
    fields = _NAMED.get(text, text).split()
    if len(fields) != len(_RANGES):
        found = f"found {len(fields)}: [{' '.join(fields)}]"
        raise ScheduleError(f"expected exactly {len(_RANGES)} fields, {found}")
    plain = [_field(field, within) for field, within in zip(fields, _RANGES, strict=True)]
    return Schedule(_possible(["0", *plain]), 0.0, zone)


def _possible(fields: list[str]) -> str:
    """Return the fields as one text, empty if no day is ever like this."""
    text = " ".join(fields)
    try:
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError:
        return ""
    return text if all(fields) else ""


def _field(text: str, within: _Range) -> str:
    """Return a field's numbers; a star says more than all of them: the other day field decides."""
    numbers: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        some, starred = _part(part, within)
        numbers.update(some)
        star |= starred
    return "*" if star else ",".join(map(str, sorted(numbers)))


def _part(text: str, within: _Range) -> tuple[range, bool]:
    bounds, slash, step_text = text.partition("/")
    low, dash, high = bounds.partition("-")
    if "/" in step_text or "-" in high:
        raise ScheduleError(f"too many {'slashes' if '/' in step_text else 'hyphens'}: {text}")
    step = _number(step_text, {}) if slash else 1
    if low in ("*", "?"):
        start, end = within.low, within.high
    else:
        start = _number(low, within.names)
        end = _number(high, within.names) if dash else within.high if slash else start
    _ordered(start, end, step, within, text)
    return range(start, end + 1, step), low in ("*", "?") and step == 1


def _ordered(start: int, end: int, step: int, within: _Range, text: str) -> None:
    if start < within.low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({within.low}): {text}")
    if end > within.high:
        raise ScheduleError(f"end of range ({end}) above maximum ({within.high}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ScheduleError(f"failed to parse int from {text}")
    return int(text)


def _seconds(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ScheduleError(f"failed to parse duration {_EVERY}{text}")
    return max(1.0, float(int(sum(float(number) * _UNITS[unit] for number, unit in parts))))
