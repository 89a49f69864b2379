"""Files written aside and renamed, so that a reader never sees half of one.

Programs are written so, too: writing to a running one is an error ("text file busy").
"""

import errno
import os
from pathlib import Path


def put(path: Path, data: bytes, mode: int, folder_mode: int = 0o755) -> None:
    """Write a file in one step, and make its folder. Raises OSError."""
    path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        put_through(str(aside), str(path), data, mode)
    finally:
        aside.unlink(missing_ok=True)


def put_through(aside: str, path: str, data: bytes, mode: int) -> None:
    """Write a file in one step through ``aside``, a path of the same file system. Raises OSError.

    ``aside`` may be a file or a symbolic link that a killed writer left. After an error it is gone.
    """
    descriptor = _open_new(aside, mode)
    try:
        _write(descriptor, data, path)
        os.fchmod(descriptor, mode)  # open(2) applies the umask
        os.rename(aside, path)  # noqa: PTH104  # pathlib takes longer than the kernel
    except OSError:
        os.unlink(aside)  # noqa: PTH108  # on a full disk it would take what is left
        raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, path: str) -> None:
    """Write all of the data. Raises OSError with the path: write(2) tells none."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as err:
        err.filename = path
        raise


def _open_new(path: str, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, mode)
    except OSError as err:
        if err.errno != errno.ELOOP:
            raise
        os.unlink(path)  # noqa: PTH108  # a symbolic link
        return os.open(path, flags, mode)


def put_link(path: Path, target: Path) -> None:
    """Make a symbolic link in one step, in the place of another one too. Raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.rename(path)
