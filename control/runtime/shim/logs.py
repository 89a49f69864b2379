"""Writes a container's log in the CRI format (cri-api, "Container logs").

A line is ``TIME STREAM TAG TEXT``. Tag ``P`` marks a part of a line that is longer than 16 KiB;
``F`` marks a whole line, or its last part.
"""

import os
import time

_LINE = 16384  # as containerd cuts


class LogWriter:
    """Appends to one log file, and rotates it when it is full."""

    def __init__(self, path: str, most_bytes: int, most_files: int) -> None:
        self._path, self._most_bytes, self._most_files = path, most_bytes, most_files
        self._file = -1
        self._size = 0
        self._lost = 0
        self._open()

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._file).st_size

    def write(self, stream: str, text: bytes, whole: bool) -> None:
        """Append one line, or one part of it.

        On a full disk lines are lost, because otherwise the container would block on its output.
        The log says how many as soon as it can be written again.
        """
        try:
            if self._lost:
                self._append("stderr", b"podwire: %d lines lost: disk full" % self._lost, True)
                self._lost = 0
            self._append(stream, text, whole)
        except OSError:
            self._lost += 1

    def _append(self, stream: str, text: bytes, whole: bool) -> None:
        line = b"%s %s %s %s\n" % (_now(), stream.encode(), b"F" if whole else b"P", text)
        if self._file < 0:
            self._open()
        if self._size and self._size + len(line) > self._most_bytes:
            self._rotate()
        self._size += os.write(self._file, line)

    def _rotate(self) -> None:
        """Rename ``0.log`` as kubelet does, to ``0.log.20261122-130501.000123``, and begin anew."""
        os.close(self._file)
        self._file = -1
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
        os.rename(self._path, f"{self._path}.{stamp}.{nanoseconds // 1000:06d}")
        folder, name = os.path.split(self._path)
        old = sorted(entry for entry in os.listdir(folder) if entry.startswith(f"{name}."))
        for entry in old[: max(0, len(old) - self._most_files + 1)]:
            os.unlink(f"{folder}/{entry}")
        self._open()


class LogStream:
    """One of a container's outputs, with its incomplete last line."""

    def __init__(self, name: str, writer: LogWriter) -> None:
        self._name, self._writer = name, writer
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Log the lines that ``data`` completes."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line, whole=True)
        while len(rest) > _LINE:
            self._writer.write(self._name, rest[:_LINE], whole=False)
            rest = rest[_LINE:]
        self._rest = rest

    def close(self) -> None:
        """Log an incomplete last line."""
        if self._rest:
            self._log(self._rest, whole=True)
        self._rest = b""

    def _log(self, line: bytes, whole: bool) -> None:
        while len(line) > _LINE:
            self._writer.write(self._name, line[:_LINE], whole=False)
            line = line[_LINE:]
        self._writer.write(self._name, line, whole)


def _now() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return b"%s.%09dZ" % (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(),
        nanoseconds,
    )
