"""Removes a lab completely, in whatever state it is."""

import os
import select
import signal
from collections.abc import Callable

from control.linux import processes
from lab.cgroups import RemovalError, remove_cgroups
from lab.state import LabDir

_DEADLINE = 30.0  # seconds for the kernel to end and reap a whole process namespace


def remove(lab: LabDir) -> bool:
    """Remove a lab; False if there was none. Raises RemovalError."""
    if not lab.path.exists():
        return False
    keeper = lab.keeper()
    if keeper is not None:
        end(keeper.pid, lambda: keeper.alive)
    remove_cgroups(lab)
    lab.remove()
    return True


def end(pid: int, alive: Callable[[], bool]) -> None:
    """Kill PID 1 of a process namespace, and wait until the kernel has ended all processes of it.

    ``alive`` is false if another process has its ID by now. Raises RemovalError.
    """
    try:
        fd = processes.open_process(pid)
    except ProcessLookupError:
        return
    try:
        if not alive():
            return
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        # Readable when the keeper is dead; PID 1 of a namespace dies last (pidfd_open(2)).
        if not select.select([fd], [], [], _DEADLINE)[0]:
            raise RemovalError(f"process {pid} of the lab does not end")
    finally:
        os.close(fd)
