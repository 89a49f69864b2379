"""Times as the API writes them: RFC 3339 in UTC. Pure."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Write seconds since the epoch as a metav1.Time (whole seconds): ``2026-11-22T12:00:00Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
