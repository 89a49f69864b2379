"""Converts container logs from the CRI format to the text of ``kubectl logs``. Pure.

A line of the format is ``TIME STREAM TAG TEXT``. The tag begins with ``P`` for a part of a line
that goes on, with ``F`` for a whole line or its last part (KEP "CRI: container logs",
k8s.io/cri-client/pkg/logs).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.agent.server.errors import HttpError
from control.api.times import nanoseconds_of

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """A request's options (core/v1 PodLogOptions); None means no limit."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None  # whole lines
    since: int | None = None  # nanoseconds since the epoch
    limit: int | None = None  # bytes of output


def parse_options(query: Mapping[str, str], now: int) -> Options:
    """Parse kubelet's query parameters; ``now`` is in nanoseconds. Raises HttpError (400)."""
    seconds, moment = _number(query, "sinceSeconds", 1), query.get("sinceTime", "")
    if seconds is not None and moment:
        raise HttpError(400, "at most one of `sinceTime` or `sinceSeconds` may be specified")
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
        raise HttpError(400, f'{name}: invalid value "{text}": want a number of at least {least}')
    return int(text)


def _moment(text: str) -> int:
    try:
        return nanoseconds_of(text)
    except ValueError as err:
        raise HttpError(400, f'sinceTime: invalid value "{text}": want RFC 3339') from err


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log file; ``whole`` is True if it ends a line of output."""

    time: bytes
    stream: bytes
    whole: bool
    text: bytes


def parse(line: bytes) -> Entry | None:
    """Parse one line of the format; None if it is invalid, as a full disk may leave it."""
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
        self._inside = False  # a line of output is not complete yet

    @property
    def full(self) -> bool:
        """True if the output has reached its limit."""
        return self._left == 0

    def render(self, lines: Iterable[bytes]) -> bytes:
        """Return the text of some lines."""
        entries = (parse(line) for line in lines)
        text = b"".join(self._show(entry) for entry in entries if entry and self._recent(entry))
        if self._left is None:
            return text
        text = text[: self._left]
        self._left -= len(text)
        return text

    def _recent(self, entry: Entry) -> bool:
        """True for lines from ``since`` on; times only grow, so no later line is compared."""
        if self._since is None:
            return True
        try:
            recent = nanoseconds_of(entry.time.decode()) >= self._since
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
    """Return (position where the last ``count`` lines begin, number of lines missing here).

    ``backwards`` has the file's lines, last first, each with the position after it. An incomplete
    line at the end of the log counts as a line.
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
