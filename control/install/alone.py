"""One run at a time of what changes an installation: others wait, also that of the timer.

Two would leave a certificate beside the other's key, and lose each other's notes of what is due.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from control.install.layout import Layout
from control.install.progress import Progress


@contextmanager
def alone(layout: Layout, progress: Progress) -> Iterator[None]:
    """Hold this machine's installation; not twice in one process. Raises OSError."""
    layout.state.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Only root may open it: who can open a file or a folder can keep its lock.
    held = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("another run of podwire here has ended") as say:
                say(f"waiting for it: it holds {layout.lock}")
                fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
