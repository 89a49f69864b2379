"""The system calls that Python 3.11 lacks, with errors that name what was asked."""

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MNT_DETACH = 2


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by CLONE_NEW… flags for new ones: unshare(2)."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int = 0) -> None:
    """Enter a namespace: setns(2)."""
    _check(_libc.setns(fd, kind), "setns")


def mount(
    source: str | Path, target: str | Path, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    """mount(2); raises OSError that names the target."""
    result = _libc.mount(
        str(source).encode(),
        str(target).encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or 'bind'} {source} on {target}")


def bind(source: str | Path, target: str | Path) -> None:
    """Make ``source`` and what is mounted below it appear at ``target``, made if missing."""
    Path(target).mkdir(parents=True, exist_ok=True)
    mount(source, target, flags=MS_BIND | MS_REC)


def umount(target: str | Path) -> None:
    """Detach what is mounted at ``target``: umount2(2) with MNT_DETACH."""
    _check(_libc.umount2(str(target).encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str | Path) -> None:
    """Make ``new`` the root of this mount namespace and drop the old one: pivot_root(2)."""
    os.chdir(new)
    # "." for both stacks the old root on the new one, from where it can be detached.
    _check(_libc.pivot_root(b".", b"."), f"pivot_root {new}")
    umount(".")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """sethostname(2) in this UTS namespace."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), f"sethostname {name}")


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
