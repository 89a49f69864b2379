"""Cgroups for tests, as a node has one: whose sockets the ebpf backend's hooks serve."""

import fcntl
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from proxy.backends.ebpf.mounts import find_cgroup
from tests.support.cni.worker import Worker

_PREFIX = "podwire-test-"


@contextmanager
def group(name: str) -> Iterator[str]:
    """The name of a cgroup that exists for as long as the context, below the hierarchy's root."""
    with owned(name) as root:
        find_cgroup(root)
        yield root


@contextmanager
def owned(name: str) -> Iterator[str]:
    """A name of our own for cgroups below the hierarchies' roots. They are removed at the end; if
    this process is killed before, by the next one that asks for a name.
    """
    _sweep()
    with _claim(name) as file:
        root = Path(file.name)
        yield root.name
        deadline = time.monotonic() + 60  # the kernel takes a moment to bury processes
        while not _removed(root.name):
            assert time.monotonic() < deadline, f"something still runs in {root.name}"
            time.sleep(0.05)
        root.unlink()


def join(root: str, workers: Iterable[Worker]) -> None:
    """Move workers into a cgroup."""
    for worker in workers:
        (find_cgroup(root) / "cgroup.procs").write_text(str(worker.pid))


def _claim(name: str) -> IO[bytes]:
    """A file whose name is free; the kernel unlocks it when its owner ends, however that ends.

    The number of the owner's process would not do: a sealed run has its own, and two of them may
    run at once.
    """
    while True:
        file = tempfile.NamedTemporaryFile(prefix=f"{_PREFIX}{name}-", delete=False)  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
        if Path(file.name).exists():
            return file
        file.close()  # another run's sweep was faster than the lock


def _sweep() -> None:
    """Remove what runs that were killed have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError), path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _removed(path.name):
                path.unlink()


def _removed(root: str) -> bool:
    """Remove the cgroups of a name in each hierarchy; False if something still runs in one."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    trees = [Path(line[1], root) for line in lines if line[2] in ("cgroup", "cgroup2")]
    for tree in trees:
        for folder in sorted((*tree.rglob("*/"), tree), reverse=True):
            with suppress(OSError):
                folder.rmdir()
    return not any(tree.exists() for tree in trees)
