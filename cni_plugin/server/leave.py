"""Leaves a server behind for the calls that follow.

A call of the plugin that found no server, and did its work itself, leaves one. The server
(``lingering.py``) ends when nobody has called for a while. It has nothing of its caller's: it has a
session of its own, the first process's cgroups, /dev/null for its standard streams, and of the
environment only PATH. A call leaves one only if all its namespaces are the first process's: a
namespace that somebody made for a container or a service would live as long as the server. It also
needs the first process's root directory, user and capabilities, and no system call filter of its
own: the server would have the caller's, and refuse to others what they can do themselves.
"""

import fcntl
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NoReturn

from cni_plugin.linux.log import warn

DEFAULT_SOCKET = "/run/podwire/cni.sock"
SUFFIX = ".lingering"  # behind the path of the socket of a server that somebody has started
LOCK = 3  # the server's descriptor that holds its lock
_PATIENCE = "60"  # seconds without a call
_SERVER = str(Path(__file__).with_name("lingering.py"))
_PYTHON = sys.executable  # of the process that writes the image, if this runs from one
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_LONGEST_PATIENCE = 86400
_LONGEST_PATH = 107 - len("..4194304")  # struct sockaddr_un; a fresh socket has a longer name
# Lines of /proc/PID/status that have to be the same. Source: proc_pid_status(5).
_LIKE = (b"Uid", b"NoNewPrivs", b"Seccomp", b"Seccomp_filters")


def leave_server(environment: Mapping[str, str]) -> None:
    """Start a server, unless there is one already or none may be left."""
    patience = environment.get("PODWIRE_CNI_LINGER", _PATIENCE)
    if not _is_patience(patience):
        warn(
            "PODWIRE_CNI_LINGER is %.20r, no number of seconds up to %d: no server is left behind",
            patience,
            _LONGEST_PATIENCE,
        )
    elif int(patience):
        path = left_socket(environment)
        with suppress(OSError):  # no folder, or a read-only one: each call does its work itself
            if _can_listen(path) and _is_like_first_process():
                _start_unless_locked(path, patience, environment.get("PATH", ""))


def left_socket(environment: Mapping[str, str]) -> Path:
    """Return the socket of the server that a call in this environment leaves."""
    return Path(environment.get("PODWIRE_CNI_SOCKET", DEFAULT_SOCKET) + SUFFIX)


def _is_patience(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and int(text) <= _LONGEST_PATIENCE


def _can_listen(path: Path) -> bool:
    """Return false for a path that means another file in another folder, or is too long."""
    return path.is_absolute() and len(os.fsencode(path)) <= _LONGEST_PATH


def _start_unless_locked(path: Path, patience: str, search_path: str) -> None:
    lock = _locked(lock_of(path))
    if lock is not None:
        try:
            _start([str(path), patience], lock, search_path)
        finally:
            os.close(lock)


def lock_of(path: Path) -> Path:
    """Return the file that a server on the socket ``path`` locks from its start to its end."""
    return path.with_name(f"{path.name}.lock")


def _is_like_first_process() -> bool:
    """Return true if our namespaces, root and privileges are the first process's.

    Raises OSError where we may not know.
    """
    return (
        all(_namespace(name, "self") == _namespace(name, "1") for name in _NAMESPACES)
        and os.path.samestat(os.stat("/"), os.stat("/proc/1/root/"))  # noqa: PTH116  # as below
        and _has_privileges(_status("self"), _status("1"))
    )


def _has_privileges(own: Mapping[bytes, bytes], first: Mapping[bytes, bytes]) -> bool:
    """Return true if the first process has nothing that we lack; lines of /proc/PID/status.

    What it can give to no other process, because its bounding set lacks it, does not count.
    """
    needed = int(first[b"CapEff"], 16) & int(first[b"CapBnd"], 16)
    has_all = not needed & ~int(own[b"CapEff"], 16)
    return has_all and all(own.get(name) == first.get(name) for name in _LIKE)


def _status(process: str) -> dict[bytes, bytes]:
    with FileIO(f"/proc/{process}/status") as file:
        lines = (line.partition(b":") for line in file.readall().splitlines())
        return {name: value.strip() for name, _, value in lines}


def _namespace(name: str, process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/{name}")  # noqa: PTH115  # pathlib takes longer
    except FileNotFoundError:
        return ""  # a kernel without such namespaces


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None if another process holds it. Raises OSError."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)  # a server is there, or has just removed the file at its end
    return None


def _start(arguments: list[str], lock: int, search_path: str) -> None:
    """Fork, and let the child execute the server.

    posix_spawn(3) would hold us up until the child has executed Python. If both have the same CPU,
    the kernel then lets Python load for a while before we may go on.
    """
    if os.fork() == 0:
        try:
            _become_server(arguments, lock, search_path)
        finally:
            os._exit(1)


def _become_server(arguments: list[str], lock: int, search_path: str) -> NoReturn:
    """Execute the server, with a session of its own and without our streams."""
    os.dup2(lock, LOCK)  # first: a caller without standard streams gives their numbers to the lock
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    for descriptor in range(LOCK + 1):
        os.set_inheritable(descriptor, True)  # which dup2 leaves out if it has nothing to do
    os.setsid()
    os.execve(_PYTHON, [_PYTHON, "-IS", _SERVER, *arguments], {"PATH": search_path})  # noqa: S606
