"""One run at a time of what changes an installation: others wait, also that of the timer.

Two would leave a certificate beside the other's key, and lose each other's notes of what is due.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from control.install.layout import Layout
from control.install.progress import Progress


@contextmanager
def alone(layout: Layout, progress: Progress) -> Iterator[None]:
    """Hold this machine's installation; not twice in one process. Raises OSError."""
    held = _lock(layout, progress)
    try:
        yield
    finally:
        os.close(held)


def _lock(layout: Layout, progress: Progress) -> int:
    """Return the locked file, which is still in its place: a reset removes it, and all beside it.

    Who waited for that, and who came later, would else hold two files.
    """
    while True:
        with ExitStack() as undo:
            held = _open(layout)
            undo.callback(os.close, held)
            _wait(held, layout, progress)
            if _is_in_place(held, layout.lock):
                undo.pop_all()
                return held


def _open(layout: Layout) -> int:
    while True:
        layout.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            # Only root may open it: who can open a file or a folder can keep its lock.
            return os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a reset has removed the folder in between
            continue


def _wait(held: int, layout: Layout, progress: Progress) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with progress.step("another run of podwire here has ended") as say:
            say(f"waiting for it: it holds {layout.lock}")
            fcntl.flock(held, fcntl.LOCK_EX)


def _is_in_place(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except FileNotFoundError:
        return False
