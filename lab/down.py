"""Removes a lab completely, in whatever state it is."""

import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from control.linux import mounts, processes, syscalls
from control.reported import ReportedError
from lab import linux
from lab.spec import cgroup
from lab.state import LabDir
from lab.supervise import fork

_DEADLINE = 30.0  # seconds for the kernel to end and reap a whole process namespace


class RemovalError(ReportedError):
    """A part of a lab could not be removed; the text names it."""


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


def remove_cgroups(lab: LabDir, machine: str = "") -> None:
    """Remove the cgroups of a lab, or of one of its machines; raises RemovalError."""
    name = cgroup(lab.name, machine)
    _, status = os.waitpid(fork(lambda: _remove_cgroups(name)), 0)
    if status:
        raise RemovalError(f"cgroup {name} cannot be removed: something runs in it")


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


def _remove_cgroups(name: str) -> None:
    """Remove the lab's cgroup from every hierarchy; runs in its own process."""
    with _hierarchies() as roots:
        for root in roots:
            _remove_tree(root / name)
            with suppress(OSError):  # other labs may still be in it
                (root / name).parent.rmdir()


@contextmanager
def _hierarchies() -> Iterator[list[Path]]:
    """Give the root of each cgroup hierarchy; mount the unified one if it is not mounted."""
    text = Path("/proc/self/mountinfo").read_text()
    roots = {mount.path: mount.kind for mount in mounts.parse(text)}
    found = [path for path, kind in roots.items() if kind in ("cgroup", "cgroup2")]
    if "cgroup2" in roots.values():
        yield found
        return
    syscalls.unshare(syscalls.CLONE_NEWNS)
    linux.isolate_mounts()
    with tempfile.TemporaryDirectory() as folder:
        syscalls.mount("cgroup2", folder, "cgroup2")
        yield [*found, Path(folder)]
        syscalls.unmount(folder)


def _remove_tree(top: Path) -> None:
    """Remove a cgroup and those below; a dead process takes a moment to leave its own."""
    deadline = time.monotonic() + 5
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        _remove_one(folder, deadline)
    _remove_one(top, deadline)


def _remove_one(folder: Path, deadline: float) -> None:
    while True:
        try:
            return folder.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
