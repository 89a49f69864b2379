"""Times as the API writes them: RFC 3339 in UTC. Pure."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|s)", re.ASCII)


def rfc3339(seconds: float) -> str:
    """Write seconds since the epoch as a metav1.Time (whole seconds): ``2026-11-22T12:00:00Z``."""
    return _second(int(seconds))


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    """Write a second; a write asks for the present one several times, as do others in it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Write seconds since the epoch as a metav1.MicroTime: ``2026-11-22T12:00:00.000000Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> datetime | None:
    """Read RFC 3339 text; return None for absent text and for text that is not a time."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_of(text: str | None) -> float | None:
    """Return RFC 3339 text as seconds since the epoch; None as in ``parse_time``."""
    moment = parse_time(text)
    return None if moment is None else moment.timestamp()


def nanoseconds_of(text: str) -> int:
    """Return RFC 3339 text as nanoseconds since the epoch; raises ValueError.

    Unlike ``seconds_of`` it reads up to nine digits of a fraction, and requires a time zone.
    """
    whole, point, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    moment = datetime.fromisoformat(whole + rest[digits:])
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    fraction = int(rest[:digits][:9].ljust(9, "0")) if point else 0
    return int(moment.timestamp()) * 1_000_000_000 + fraction


def duration(text: str) -> timedelta | None:
    """Read a Go duration of hours to milliseconds such as ``1h30m``; None for any other text."""
    if not re.fullmatch(f"(?:{_DURATION.pattern}){{1,4}}", text):
        return None
    return timedelta(seconds=sum(float(it) * _UNITS[unit] for it, unit in _DURATION.findall(text)))


def is_date(text: object) -> bool:
    """Return True for a date as Go's 2006-01-02."""
    try:
        return isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
