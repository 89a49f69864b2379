"""One at a time for each attachment, among threads and among processes.

The locks are ranges of one byte in one file, as open file description locks (fcntl(2), Linux
3.15): they belong to whoever opened the file, so two threads of the server exclude each other as
two processes do; the kernel frees them when their holder dies, and nothing is left to clean up.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cni_plugin.digest import blake2b

# struct flock: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")
_POSITIONS = 1 << 62


@contextmanager
def held(path: Path, *key: str) -> Iterator[int]:
    """Wait for the lock of a key in the file ``path``, and hold it for the block.

    Whoever inherits the descriptor holds the lock too, until all of them have closed it.
    """
    descriptor = _opened(path)
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _position(key), 1, 0)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, wanted)
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _position(key: tuple[str, ...]) -> int:
    digest = blake2b("\0".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _POSITIONS
