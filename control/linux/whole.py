"""Writing a file so that a reader sees all of it or nothing: aside, then renamed.

No fsync: what a power failure could tear describes processes that it has killed as well. Only the
standard library's smallest modules are imported, because the shim starts with this one.
"""

import os
from contextlib import suppress


def write(path: str | os.PathLike[str], text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all; raises OSError, which names it."""
    fresh = f"{os.fspath(path)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600), "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        os.rename(fresh, path)
    except OSError as err:
        with suppress(OSError):
            os.unlink(fresh)
        if err.filename is None:  # a full disk is told by write(2), which knows no name
            err.filename = os.fspath(path)
        raise


def link(path: str | os.PathLike[str], goal: str, aside: str) -> None:
    """Let the symbolic link ``path`` lead to ``goal``; there is no moment without a link.

    ``aside`` is the name, in the same folder, under which the new link is made. Raises OSError.
    """
    fresh = os.path.join(os.path.dirname(path), aside)
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(goal, fresh)
    os.rename(fresh, path)
