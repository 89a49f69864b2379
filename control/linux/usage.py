"""Walks through trees of files, and measures them. The shim starts with this module, too."""

import os
from collections.abc import Iterator
from contextlib import suppress

StrPath = str | os.PathLike[str]


def walk(folder: StrPath) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of all that is below a folder, folders before what is in them.

    What vanishes meanwhile is left out. It goes down without recursion. Raises OSError.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry.path, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)


def disk_usage(folder: StrPath) -> int:
    """Return the bytes on disk of all that is below a folder; a file with many names counts once.

    Raises OSError.
    """
    seen = {(it.st_dev, it.st_ino): it.st_blocks * 512 for _, it in walk(folder)}
    return sum(seen.values())
