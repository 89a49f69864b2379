"""Tar archives in memory, also such as no tool writes."""

import io
import os
import tarfile


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


def only_words(value):
    """Name a test by a parameter that is text; archives differ from one process to the next."""
    return value if isinstance(value, str) else "archive"
