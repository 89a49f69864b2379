"""Reads tar archives that may be hostile: forward only, counted, and hashed on the way.

The standard library's reader trusts sizes and lengths: a header may ask it for gigabytes of memory,
lead it back to where it was, or end the archive in silence. What it reads from here is bounded.
"""

import gzip
import hashlib
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from typing import IO, Any, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Go's archive/tar, and so containerd, takes no larger header either (maxSpecialFileSize).
_MOST_HEADER = 1024 * 1024
_PIECE = 1024 * 1024
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_GZIP = b"\x1f\x8b"
# RFC 8878: a frame begins so (3.1.1), or so if it is to be skipped (3.1.2, low four bits free).
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60)))
# The memory that a frame may ask for, 128 MiB: what the zstd command takes without --long.
_WINDOW: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
_FEED = 16 * 1024  # what follows a frame in it is copied once a frame


class HostileArchiveError(ValueError):
    """An archive must not be unpacked; the text says why."""


class Budget:
    """What one image may still take: bytes after decompression, and members of its archives."""

    def __init__(self, most_bytes: int = 64 * 1024**3, most_members: int = 1_000_000) -> None:
        self._bytes, self._members = most_bytes, most_members
        self._limits = f"more than {most_members} files or {most_bytes} bytes"

    def take(self, size: int = 0, members: int = 0) -> None:
        """Take some of it; raises HostileArchiveError if there is not so much."""
        self._bytes -= size
        self._members -= members
        if self._bytes < 0 or self._members < 0:
            raise HostileArchiveError(self._limits)


class Tape:
    """The bytes of a tar, decompressed, as a file that goes only forward."""

    def __init__(self, stream: IO[bytes], budget: Budget, algorithm: str = "sha256") -> None:
        self._stream, self._budget = stream, budget
        self._found = hashlib.new(algorithm)
        self._position = 0
        self._header_left: int | None = None
        self.last = b""  # what was read last

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; raises HostileArchiveError beyond a limit."""
        if self._header_left is not None:
            self._header_left -= size
            if self._header_left < 0:
                raise HostileArchiveError(f"a header has more than {_MOST_HEADER} bytes")
        data = self._stream.read(size)
        self._budget.take(len(data))
        self._found.update(data)
        self._position += len(data)
        self.last = data
        return data

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, position: int) -> None:
        """Go forward; at the end of the bytes it stays there."""
        if position < self._position:
            raise HostileArchiveError("a header leads backward")
        left, self._header_left = self._header_left, None  # contents are no part of a header
        while self._position < position and self.read(min(_PIECE, position - self._position)):
            pass
        self._header_left = left

    @contextmanager
    def header(self) -> Iterator[None]:
        """Bound what is read meanwhile by the most that a member's header may have."""
        self._header_left = _MOST_HEADER
        try:
            yield
        finally:
            self._header_left = None

    def finish(self) -> str:
        """Read the rest; return the digest of all bytes, in hexadecimal."""
        while self.read(_PIECE):
            pass
        return self._found.hexdigest()


class _Zstd(RawIOBase):
    """The content of zstd's frames, one after the other: builders make many for one layer.

    Each frame counts as a member of the budget: empty ones are small, and take long.
    """

    def __init__(self, stream: BufferedReader, budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._frame = zstd.ZstdDecompressor(options=_WINDOW)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; raises EOFError within a frame, ZstdError, HostileArchiveError."""
        while (fed := self._feed()) is not None:
            data = self._frame.decompress(fed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _feed(self) -> bytes | None:
        """Return what the frame is to be given next, or None at the end; begin the next frame."""
        if not self._frame.eof:
            return self._more() if self._frame.needs_input else b""
        following = self._frame.unused_data or self._stream.read(_FEED)
        if not following:
            return None
        self._budget.take(members=1)
        self._frame = zstd.ZstdDecompressor(options=_WINDOW)
        return following

    def _more(self) -> bytes:
        data = self._stream.read(_FEED)
        if not data:
            raise EOFError("Compressed file ended before the end-of-stream marker was reached")
        return data


def decompress(stream: BufferedReader, budget: Budget) -> IO[bytes]:
    """Return the bytes of a stream that may be compressed by gzip or zstd.

    The OCI image specification has these two. Others are refused with HostileArchiveError, which
    names the remedy.
    """
    first = stream.peek(6)
    for magic, name in _OTHERS.items():
        if first.startswith(magic):
            raise HostileArchiveError(
                f"is compressed by {name}, which podwire does not read: compress it by gzip "
                "(skopeo copy --dest-compress-format gzip), by zstd, or not at all"
            )
    if first.startswith(_ZSTD):
        return BufferedReader(_Zstd(stream, budget), _PIECE)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if first.startswith(_GZIP) else stream


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what the standard library's readers raise into HostileArchiveError."""
    try:
        yield
    except HostileArchiveError:
        raise
    except RecursionError as err:
        raise HostileArchiveError("has too many headers in one") from err
    except (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError) as err:
        raise HostileArchiveError(f"is damaged: {err}") from err
    except (tarfile.TarError, ValueError, OverflowError) as err:
        raise HostileArchiveError(f"is no tar archive, or damaged: {err}") from err


def members(tape: Tape, budget: Budget) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield each member with the archive that reads its content; raises HostileArchiveError."""
    with damage_named(), tape.header():
        tar = tarfile.TarFile(fileobj=tape)  # type: ignore[arg-type]  # it reads, seeks and tells
        # It has read a header already. Asked again after a damaged one, it would pass over it.
        member = tar.next() if tar.firstmember else None  # type: ignore[attr-defined]
    while member is not None:
        budget.take(members=1)
        if member.issparse():
            raise HostileArchiveError(
                f"member {member.name[:200]!r} is sparse: pack it without tar's --sparse"
            )
        yield tar, member
        tar.members = []  # type: ignore[attr-defined]  # it would remember all of them
        tar.pax_headers = {}  # as containerd, which ignores global headers
        with damage_named(), tape.header():
            member = tar.next()
    if tape.last.strip(b"\0"):
        raise HostileArchiveError("is damaged: a header is not one of tar's")
