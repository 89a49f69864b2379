"""Reading container logs in CRI format: filtered, from the end, and as they grow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_POLL_SECONDS = 0.2
_BLOCK = 64 * 1024


class BadOption(ValueError):
    """A query parameter that is none; the text says what it should be."""


@dataclass(frozen=True, slots=True)
class Options:
    """What of a log is wanted (core/v1 PodLogOptions)."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""  # RFC 3339 with nanoseconds, comparable as text
    limit: int | None = None


def options(query: Mapping[str, str], now: datetime) -> Options:
    """From a query string; raises BadOption."""
    seconds = _number(query, "sinceSeconds", 1)
    since = _time(query.get("sinceTime", ""))
    if seconds is not None:
        since = _stamp(datetime.fromtimestamp(now.timestamp() - seconds, UTC))
    return Options(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail=_number(query, "tailLines", 0),
        since=since,
        limit=_number(query, "limitBytes", 1),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise BadOption(f"{name}: {text!r} is no number from {least} on")
    return int(text)


def _time(text: str) -> str:
    if not text:
        return ""
    try:
        return _stamp(datetime.fromisoformat(text).astimezone(UTC))
    except ValueError as err:
        raise BadOption(f"sinceTime: {err}") from err


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry: ``text`` ends with a line end unless the entry is a part of a longer line."""

    time: str
    stream: str
    text: bytes


def parse(raw: bytes) -> Line | None:
    """One line of the file; None for what is no entry."""
    fields = raw.rstrip(b"\n").split(b" ", 3)
    if len(fields) < 4 or fields[2][:1] not in (b"P", b"F"):
        return None
    time, stream, tag, text = fields
    end = b"" if tag[:1] == b"P" else b"\n"
    return Line(time.decode(errors="replace"), stream.decode(errors="replace"), text + end)


def lines(path: Path, tail: int | None) -> Iterator[bytes]:
    """The lines of a log with those that were rotated out before it, the last ``tail`` of them."""
    if tail == 0:
        return
    files = [*_rotated(path), path]
    if tail is None:
        for file in files:
            yield from _read(file)
        return
    found: list[bytes] = []
    for file in reversed(files):
        found = [*_last(file, tail - len(found)), *found]
        if len(found) >= tail:
            break
    yield from found


def _rotated(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*"))


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _last(path: Path, count: int) -> list[bytes]:
    """The last lines of a file, read from its end."""
    try:
        with path.open("rb") as file:
            position = file.seek(0, 2)
            data = b""
            while position and data.count(b"\n") <= count:
                step = min(_BLOCK, position)
                position = file.seek(position - step)
                data = file.read(step) + data
                file.seek(position)
    except FileNotFoundError:
        return []
    return data.splitlines(keepends=True)[-count:]


async def entries(path: Path, wanted: Options, running: Callable[[], bool]) -> AsyncIterator[Line]:
    """The wanted entries; following, until the container has ended and all of it was read."""
    reader = _Follower(path)
    for raw in lines(path, wanted.tail):
        if (line := parse(raw)) and line.time >= wanted.since:
            yield line
    if not wanted.follow:
        return
    while True:
        alive = running()  # before the read: what is written last is read, too
        found = False
        for raw in reader.new_lines():
            found = True
            if (line := parse(raw)) and line.time >= wanted.since:
                yield line
        if not alive and not found:
            return
        await asyncio.sleep(0 if found else _POLL_SECONDS)


class _Follower:
    """Reads what is appended to a log, across its rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset, self._inode = self._state()
        self._rest = b""

    def _state(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_size, found.st_ino

    def new_lines(self) -> list[bytes]:
        """The whole lines since the last call."""
        data = b""
        if self._inode and self._state()[1] != self._inode:
            for old in reversed(_rotated(self._path)):
                if old.stat().st_ino == self._inode:
                    data += self._from(old)
                    break
            self._offset, self._inode = 0, 0
        data += self._from(self._path)
        self._inode = self._state()[1]
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line + b"\n" for line in whole]

    def _from(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data


def shown(line: Line, timestamps: bool) -> bytes:
    """An entry as `kubectl logs` prints it."""
    return f"{line.time} ".encode() + line.text if timestamps else line.text
