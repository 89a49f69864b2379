"""Processes by their IDs, which the kernel gives out again: pidfds and start times.

Only the standard library's smallest modules are imported, because the shim starts with this one.
"""

import errno
import os

from control.linux.syscalls import read_text


def open_process(pid: int) -> int:
    """Return a pidfd; raises ProcessLookupError when the process is gone.

    For 0, for a process that is just being reaped, and for a number that is a thread's by now, the
    kernel says EINVAL, or since Linux 6.15 ENOENT (pidfd_prepare in kernel/fork.c).
    """
    try:
        return os.pidfd_open(pid)
    except OSError as err:
        if err.errno in (errno.EINVAL, errno.ENOENT):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from err
        raise


def start_ticks(pid: int, *, zombies: bool = False) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone.

    A zombie counts as gone, unless ``zombies`` are wanted. Together with the ID the ticks name one
    process, however often the ID is used again (proc(5), field 22 of stat).
    """
    try:
        stat = read_text(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name is in parentheses, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and not zombies else int(fields[19])
