"""Mounts and open files of a lab's processes, on top of the agent's system calls."""

import os
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

from control.linux.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
)


def isolate_mounts() -> None:
    """Let no mount made from now on pass between this mount namespace and any other."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def bind(source: str | Path, target: str | Path) -> None:
    """Show ``source``, and what is mounted below it, at ``target``, which is made if missing."""
    Path(target).mkdir(parents=True, exist_ok=True)
    mount(source, target, None, MS_BIND | MS_REC)


def bind_read_only(source: str | Path, target: str | Path) -> None:
    """Show ``source``, without what is mounted below it, at ``target``; nobody writes it there."""
    if not Path(target).exists():
        Path(target).mkdir(parents=True)
    mount(source, target, None, MS_BIND)
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def close_files(keep: Collection[int]) -> None:
    """Close every open file of this process but those in ``keep``."""
    for below, above in pairwise([-1, *sorted(keep), os.sysconf("SC_OPEN_MAX")]):
        if below + 1 < above:  # Python 3.11 takes an empty range at 0 as the range of all files
            os.closerange(below + 1, above)
