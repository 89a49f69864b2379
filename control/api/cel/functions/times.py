"""Times and durations: their texts, and their parts in a time zone."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.numbers import atoi, plain_text
from control.api.cel.functions.table import Overload
from control.api.cel.meter import traversal
from control.api.cel.values import Duration, Timestamp, fits_int

_SECOND = 10**9
_UNITS = {
    "h": 3600 * _SECOND,
    "m": 60 * _SECOND,
    "s": _SECOND,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ns": 1,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(h|ms|us|µs|μs|ns|m|s)")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_FARTHEST = 24, 60  # hours and minutes from UTC
LEAST_TIME, MOST_TIME = -62135596800 * _SECOND, 253402300800 * _SECOND
_LONGEST = 128  # characters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> Duration:
    """Read ``1h30m``, as Go does; raises EvaluationError."""
    nanos = duration_nanos(text)
    if nanos is None:
        why = "type conversion error from 'string' to 'google.protobuf.Duration'"
        raise EvaluationError(why)
    return Duration(nanos)


def duration_nanos(text: str) -> int | None:
    """Return the nanoseconds of a duration; None if it is none."""
    sign = -1 if text.startswith("-") else 1
    rest = text.removeprefix("-") if sign < 0 else text.removeprefix("+")
    if rest == "0":
        return 0
    if not rest or len(rest) > _LONGEST:
        return None
    total, at = 0, 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None or not (match[1] or match[2]):
            return None
        unit, fraction = _UNITS[match[3]], match[2] or ""
        total += int(match[1] or 0) * unit
        total += int(fraction or 0) * unit // 10 ** len(fraction)
        at = match.end()
    return sign * total if fits_int(sign * total) else None


def duration_text(duration: Duration) -> str:
    """Write seconds, as many digits as a double has."""
    seconds, rest = divmod(abs(duration.nanos), _SECOND)
    return f"{'-' if duration.nanos < 0 else ''}{plain_text(seconds + rest / 1e9)}s"


def parse_timestamp(text: str) -> Timestamp:
    """Read a time by RFC 3339; raises EvaluationError."""
    found = read_timestamp(text)
    if found is None:
        why = "type conversion error from 'string' to 'google.protobuf.Timestamp'"
        raise EvaluationError(why)
    if not LEAST_TIME <= found.nanos < MOST_TIME:
        raise EvaluationError("timestamp overflow")
    return found


def timestamp_nanos(text: str) -> int | None:
    """Return the nanoseconds of a time by RFC 3339; None if it is none."""
    found = read_timestamp(text)
    return None if found is None else found.nanos


def read_timestamp(text: str) -> Timestamp | None:
    """Read a time by RFC 3339, as Go does, with its offset from UTC; None if it is none."""
    match = _TIME.fullmatch(text) if len(text) < _LONGEST else None
    if match is None:
        return None
    hours, minutes = int(match[9] or 0), int(match[10] or 0)
    if hours > _FARTHEST[0] or minutes > _FARTHEST[1]:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = (hours * 3600 + minutes * 60) * (-1 if match[8] == "-" else 1)
    fraction = int(((match[7] or "") + "0" * 9)[:9])
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - offset
    return Timestamp(seconds * _SECOND + fraction, offset)


def timestamp_text(moment: Timestamp) -> str:
    """Write a time by RFC 3339, with its offset from UTC."""
    seconds, rest = divmod(moment.nanos, _SECOND)
    offset = moment.offset
    try:
        local = _EPOCH + timedelta(seconds=seconds + offset)
    except OverflowError:  # in the first or the last hours that there are
        local, offset = _EPOCH + timedelta(seconds=seconds), 0
    text = local.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if offset else "Z"
    return f"{text}{fraction}{zone}"


def _local(moment: Timestamp, zone: str) -> datetime:
    utc = _EPOCH + timedelta(microseconds=moment.nanos // 1000)
    hours, colon, minutes = zone.partition(":")
    if colon:
        return _shifted(utc, zone.startswith("-"), atoi(hours), atoi(minutes))
    try:
        return utc.astimezone(ZoneInfo("UTC" if zone in ("", "Local") else zone))
    except ValueError as err:
        raise EvaluationError("time: invalid location name") from err
    except (ZoneInfoNotFoundError, OverflowError, OSError) as err:
        raise EvaluationError(f"unknown time zone {zone}") from err


def _shifted(utc: datetime, west: bool, hours: int, minutes: int) -> datetime:
    try:
        return utc + timedelta(minutes=hours * 60 + (-minutes if west else minutes))
    except OverflowError as err:
        raise EvaluationError("timestamp overflow") from err


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda it: it.year,
    "getMonth": lambda it: it.month - 1,
    "getDate": lambda it: it.day,
    "getDayOfMonth": lambda it: it.day - 1,
    "getDayOfWeek": lambda it: (it.weekday() + 1) % 7,
    "getDayOfYear": lambda it: it.timetuple().tm_yday - 1,
    "getHours": lambda it: it.hour,
    "getMinutes": lambda it: it.minute,
    "getSeconds": lambda it: it.second,
    "getMilliseconds": lambda it: it.microsecond // 1000,
}
_LENGTHS = {
    "getHours": 3600 * _SECOND,
    "getMinutes": 60 * _SECOND,
    "getSeconds": _SECOND,
    "getMilliseconds": 10**6,
}


def _part(part: Callable[[datetime], int]) -> Callable[..., int]:
    return lambda moment, zone="UTC": part(_local(moment, zone))


def _whole(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


def _length(unit: int) -> Callable[[Duration], int]:
    return lambda duration: _whole(duration.nanos, unit)


def _times() -> list[Overload]:
    found = []
    for name, part in _PARTS.items():
        found.append(Overload(name, "timestamp.() int", _part(part)))
        found.append(Overload(name, "timestamp.(string) int", _part(part), traversal))
    found += [Overload(name, "duration.() int", _length(it)) for name, it in _LENGTHS.items()]
    return found


TIMES = tuple(_times())
