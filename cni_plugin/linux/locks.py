"""Locks that exclude threads and processes from each other.

Each lock is a range of one byte in a file: an open file description lock (fcntl(2), Linux 3.15). It
belongs to an open file, so threads of the server exclude each other as processes do. The kernel
releases it when its holder dies, so nothing is left to clean up.
"""

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cni_plugin.digest import blake2b

# struct flock: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")
_POSITIONS = 1 << 62


@contextmanager
def held(paths: Sequence[Path], *key: str) -> Iterator[int]:
    """Wait for a key's lock, and hold it during the block.

    The lock is in the first file of ``paths`` that can be opened for writing: on a read-only file
    system nobody can open the first one, so all meet in the next. Yields a descriptor. A process
    that inherits the descriptor also holds the lock: the lock is free when every copy is closed.
    Raises OSError.
    """
    descriptor = _open_first(paths)
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _position(key), 1, 0)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, wanted)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_first(paths: Sequence[Path]) -> int:
    """Open the first file that can be opened. Raises the OSError of the first one."""
    first, *others = paths
    try:
        return _open(first)
    except OSError:
        for path in others:
            with suppress(OSError):
                return _open(path)
        raise


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _position(key: tuple[str, ...]) -> int:
    digest = blake2b("\0".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _POSITIONS
