"""Removes the cgroups of a lab, or of one of its machines, from every hierarchy.

Cgroups are the host's: labs of two mount namespaces that have one name share theirs.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from control.linux import mounts, syscalls
from control.linux.errors import cause
from control.reported import ReportedError
from lab import linux
from lab.spec import cgroup
from lab.state import LabDir
from lab.supervise import fork

_DEADLINE = 5.0  # seconds for dead processes to leave


class RemovalError(ReportedError):
    """A part of a lab could not be removed; the text names it."""


def remove_cgroups(lab: LabDir, machine: str = "") -> None:
    """Remove the cgroups of a lab, or of one of its machines.

    All stay if something runs in one. Raises RemovalError.
    """
    name = cgroup(lab.name, machine)
    heard, told = os.pipe()
    child = fork(lambda: _remove_and_tell(name, told))
    os.close(told)
    with os.fdopen(heard) as said:
        why = said.read()
    _, status = os.waitpid(child, 0)
    if why or status:
        raise RemovalError(f"cgroup {name} cannot be removed: {why or 'its removal was ended'}")


def _remove_and_tell(name: str, told: int) -> None:
    """Remove them, and write why not; runs in its own process, for the sake of its mounts."""
    try:
        _remove_everywhere(name)
    except OSError as err:
        os.write(told, cause(err).encode())
    except RemovalError as err:
        os.write(told, str(err).encode())


def _remove_everywhere(name: str) -> None:
    with _hierarchies() as roots:
        for root in roots:
            _wait_empty(root / name)
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
        try:
            yield [*found, Path(folder)]
        finally:  # else the folder's own removal would go on into the host's cgroups
            syscalls.unmount(folder)


def _wait_empty(top: Path) -> None:
    """Wait until no process is in a cgroup and those below; raises RemovalError."""
    deadline = time.monotonic() + _DEADLINE
    while busy := _find_busy(top):
        if time.monotonic() > deadline:
            folder, process = busy
            raise RemovalError(
                f"{process} runs in {folder}; it is of another lab of this name, or was moved "
                "there: end it, or choose another --name"
            )
        time.sleep(0.01)


def _find_busy(top: Path) -> tuple[str, str] | None:
    """Find a cgroup that holds processes, and say one of them."""
    for folder, _, _ in os.walk(top):
        with suppress(OSError):  # gone meanwhile, or of threads alone
            if listed := Path(folder, "cgroup.procs").read_text().split():
                # The kernel says 0 for a process that the reader's namespace has not.
                process = f"process {listed[0]}" if listed[0] != "0" else "a process elsewhere"
                return folder, process
    return None


def _remove_tree(top: Path) -> None:
    """Remove a cgroup and those below; the kernel takes a moment after the last process."""
    deadline = time.monotonic() + _DEADLINE
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
