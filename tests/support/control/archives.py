"""Tar archives in memory, also such as no tool writes."""

import io
import os
import sys
import tarfile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# RFC 8878, 3.1.2: a frame that readers pass over; zstd:chunked has its table of contents in one.
SKIPPED = b"\x5e\x2a\x4d\x18\4\0\0\0toc\n"


def member(name, data=b"", kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), mode
    info.uid, info.gid = os.getuid(), os.getgid()
    return info, data


def tar(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def in_frames(data, size=1000):
    """Compress by zstd, a frame for each ``size`` bytes, as builders do that work at once."""
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return SKIPPED + b"".join(map(zstd.compress, pieces)) + SKIPPED


def with_window(log):
    """Return a frame of zstd's with "x" in it, for which a reader keeps 2 ** log bytes."""
    return b"\x28\xb5\x2f\xfd\0" + bytes([log - 10 << 3]) + b"\x09\0\0x"


def only_words(value):
    """Name a test by a parameter that is text; archives differ from one process to the next."""
    return value if isinstance(value, str) else "archive"
