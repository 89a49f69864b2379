"""Container logs as text: the CRI format in, what ``kubectl logs`` shows out. Pure.

A line of the format is ``TIME STREAM TAG TEXT``; the tag's first part is ``P`` for a piece of a
line that goes on, ``F`` for its end (KEP "CRI: container logs", k8s.io/cri-client/pkg/logs).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from control.agent.server.refusal import Refusal

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a log (core/v1 PodLogOptions). ``None`` is: no limit."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None  # whole lines
    since: int | None = None  # nanoseconds since the epoch
    limit: int | None = None  # bytes of output


def parse_options(query: Mapping[str, str], now: int) -> Options:
    """The options of kubelet's query parameters; ``now`` in nanoseconds; raises Refusal (400)."""
    seconds, moment = _number(query, "sinceSeconds", 1), query.get("sinceTime", "")
    if seconds is not None and moment:
        raise Refusal(400, "at most one of `sinceTime` or `sinceSeconds` may be specified")
    since = now - seconds * _SECOND if seconds is not None else None
    return Options(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail=_number(query, "tailLines", 0),
        since=_moment(moment) if moment else since,
        limit=_number(query, "limitBytes", 1),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "") in ("1", "t", "T", "true", "TRUE", "True")


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) >= least):
        raise Refusal(400, f'{name}: invalid value "{text}": want a number of at least {least}')
    return int(text)


def _moment(text: str) -> int:
    try:
        return nanoseconds(text)
    except ValueError as err:
        raise Refusal(400, f'sinceTime: invalid value "{text}": want RFC 3339') from err


def nanoseconds(text: str) -> int:
    """An RFC 3339 time, up to nanoseconds, since the epoch; raises ValueError."""
    whole, point, rest = text.partition(".")
    if not point:
        return _seconds(whole) * _SECOND
    digits = len(rest) - len(rest.lstrip("0123456789"))
    fraction, zone = rest[:digits], rest[digits:]
    return _seconds(whole + zone) * _SECOND + int(fraction[:9].ljust(9, "0"))


def _seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return int(moment.timestamp())


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log file; ``whole``: it ends a line of output."""

    time: bytes
    stream: bytes
    whole: bool
    text: bytes


def parse(line: bytes) -> Entry | None:
    """One line of the format; None when it is none, such as the remains of a full disk."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    tag = parts[2].partition(b":")[0]
    if tag not in (b"F", b"P"):
        return None
    return Entry(parts[0], parts[1], tag == b"F", parts[3] if len(parts) > 3 else b"")


class Renderer:
    """Turns lines of the format into text, piece by piece."""

    def __init__(self, options: Options) -> None:
        self._since, self._left = options.since, options.limit
        self._timestamps = options.timestamps
        self._inside = False  # of a line of output

    @property
    def full(self) -> bool:
        """Whether as many bytes are out as were wanted."""
        return self._left == 0

    def render(self, lines: Iterable[bytes]) -> bytes:
        """The text of some lines."""
        entries = (parse(line) for line in lines)
        text = b"".join(self._show(it) for it in entries if it and self._recent(it))
        if self._left is None:
            return text
        text = text[: self._left]
        self._left -= len(text)
        return text

    def _recent(self, entry: Entry) -> bool:
        """Times only grow: after the first recent line, nobody looks at them again."""
        if self._since is None:
            return True
        try:
            recent = nanoseconds(entry.time.decode()) >= self._since
        except ValueError:
            recent = False
        if recent:
            self._since = None
        return recent

    def _show(self, entry: Entry) -> bytes:
        stamp = b"" if self._inside or not self._timestamps else entry.time + b" "
        self._inside = not entry.whole
        return stamp + entry.text + (b"\n" if entry.whole else b"")


def tail_start(backwards: Iterable[tuple[int, bytes]], count: int) -> tuple[int, int]:
    """(where the last ``count`` lines of output begin, how many of them are missing here).

    ``backwards`` has the file's lines, last first, each with the position after it. The pieces at
    the end of a log, whose line still goes on, are a line too.
    """
    found, inside = 0, False
    for end, line in backwards:
        entry = parse(line)
        if entry is None:
            continue
        if entry.whole or not (found or inside):
            if found == count:
                return end, 0
            found += 1
        inside = True
    return 0, count - found
