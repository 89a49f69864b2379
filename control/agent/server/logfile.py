"""Reads one container's log on disk: a chain of files, followed through rotations.

The newest is ``N.log``; older ones were renamed to ``N.log.YYYYMMDD-HHMMSS...``. The reader knows
files by their inode: even if it is slower than the rotation, it misses no file that is kept.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from control.agent.server.logtext import tail_start

_PIECE = 64 * 1024


class LogFile:
    """A position in a container's log."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning of the oldest file; raises FileNotFoundError if there is none."""
        self._path = path
        self._file = -1
        self._rest = b""  # a line that is not whole yet
        self._open(next(iter(self._chain()), path))

    def _chain(self) -> list[Path]:
        """Return the files, oldest first, without those that kubelet has compressed."""
        older = sorted(self._path.parent.glob(f"{self._path.name}.*"))
        kept = [path for path in older if path.suffix not in (".gz", ".tmp")]
        return [*kept, *([self._path] if self._path.exists() else [])]

    def _open(self, path: Path) -> None:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._file, self._rest = opened, b""

    def close(self) -> None:
        """Close the open file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def seek_tail(self, count: int) -> None:
        """Move to the beginning of the last ``count`` lines of output."""
        for path in reversed(self._chain()):
            try:
                self._open(path)
            except FileNotFoundError:
                continue  # rotated away just now
            size = os.fstat(self._file).st_size
            start, count = tail_start(_backwards(self._file, size), count) if count else (size, 0)
            os.lseek(self._file, start, os.SEEK_SET)
            if not count:
                return

    def read(self) -> list[bytes]:
        """Return the next lines; an empty list if there are none now."""
        while True:
            # Checked before reading: all lines from before a rotation are then in this file.
            following = self._following()
            if data := os.read(self._file, _PIECE):
                *lines, self._rest = (self._rest + data).split(b"\n")
                if lines:
                    return lines
            elif following is None:
                return []
            else:
                self._open(following)

    def _following(self) -> Path | None:
        """Return the next file, if this one was rotated."""
        here = os.fstat(self._file).st_ino
        if _inode(self._path) == here:
            return None
        chain = self._chain()
        inodes = [_inode(path) for path in chain]
        # A file that is no longer in the chain was older than all files that are.
        after = inodes.index(here) + 1 if here in inodes else 0
        return chain[after] if after < len(chain) else None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _backwards(file: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, last first, each with the position after it."""
    position, rest, end = size, b"", size
    while position > 0:
        step = min(_PIECE, position)
        position -= step
        rest, *lines = (os.pread(file, step, position) + rest).split(b"\n")
        for line in reversed(lines):
            yield end + 1, line
            end -= len(line) + 1
    yield end + 1, rest
