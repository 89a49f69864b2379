"""Cgroups for tests, as a node has one: whose sockets the ebpf backend's hooks serve."""

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.ebpf.group import find_group
from tests.netns.worker import Worker


@contextmanager
def group(name: str) -> Iterator[str]:
    """The name of a cgroup that exists for as long as the context, below the hierarchy's root."""
    # Not the process's number: a sealed run has its own, and two of them may run at once.
    root = f"podwire-test-{name}-{uuid.uuid4().hex[:12]}"
    folder = find_group(root)
    yield root
    _remove(folder)


def join(root: str, workers: Iterable[Worker]) -> None:
    """Move workers into a cgroup."""
    for worker in workers:
        (find_group(root) / "cgroup.procs").write_text(str(worker.pid))


def _remove(folder: Path) -> None:
    """The kernel takes a moment to see that killed processes are gone."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return folder.rmdir()
        except OSError:
            assert time.monotonic() < deadline, f"something still runs in {folder}"
            time.sleep(0.05)
