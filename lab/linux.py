"""What a machine is made of: the agent's system calls, with the lab's conveniences on top."""

import os
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

from control.linux import syscalls
from control.linux.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    setns,
    unshare,
)

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUTS",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_REC",
    "bind",
    "close_files",
    "isolate_mounts",
    "mount",
    "pivot_root",
    "setns",
    "start_time",
    "umount",
    "unshare",
]

MS_NODEV = 0x4
_MS_PRIVATE = 0x40000


def mount(
    source: str | Path, target: str | Path, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    """mount(2); raises OSError that names the target."""
    syscalls.mount(str(source), str(target), kind or None, flags, options)


def isolate_mounts() -> None:
    """Keep what is mounted in this mount namespace from all others, and theirs from it."""
    mount("none", "/", flags=MS_REC | _MS_PRIVATE)


def bind(source: str | Path, target: str | Path) -> None:
    """Make ``source`` and what is mounted below it appear at ``target``, made if missing."""
    Path(target).mkdir(parents=True, exist_ok=True)
    mount(source, target, flags=MS_BIND | MS_REC)


def umount(target: str | Path) -> None:
    """Detach what is mounted at ``target``: umount2(2) with MNT_DETACH."""
    syscalls.unmount(str(target))


def pivot_root(new: str | Path) -> None:
    """Make ``new`` the root of this mount namespace and drop the old one: pivot_root(2)."""
    os.chdir(new)
    # "." for both stacks the old root on the new one, from where it can be detached.
    syscalls.pivot_root(".", ".")
    umount(".")
    os.chdir("/")


def close_files(keep: Collection[int]) -> None:
    """Close every open file of this process but ``keep``."""
    for below, above in pairwise([-1, *sorted(keep), os.sysconf("SC_OPEN_MAX")]):
        if below + 1 < above:  # Python 3.11 takes the empty range at 0 for everything
            os.closerange(below + 1, above)


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie.

    Together with the pid it names one process for ever, however often the pid is used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name is in parentheses and may hold anything: proc(5).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
