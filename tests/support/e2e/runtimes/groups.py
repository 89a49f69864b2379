"""Cgroups for one test, in every hierarchy of the machine: version 1, 2, or both."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TRIES = 100


def hierarchies() -> dict[Path, Path]:
    """The mount point of each hierarchy, and this process's group in it."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    mine = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[Path(place)] = Path(place) / mine[""].lstrip("/")
        elif kind == "cgroup":
            path = next(mine[name] for name in mine if name and name in options)
            found[Path(place)] = Path(place) / path.lstrip("/")
    return found


@contextmanager
def own_groups(name: str) -> Iterator[dict[Path, Path]]:
    """Make a group below this process's group in each hierarchy; remove it after the block."""
    groups = _named(name)
    try:
        for group in groups.values():
            group.mkdir()
            _fill_cpuset(group)
        yield groups
    finally:
        remove_groups(name)


def remove_groups(name: str) -> None:
    """Remove the groups of a name, if there are any. Their processes have ended."""
    for group in _named(name).values():
        if group.exists():
            _remove(group)


def _named(name: str) -> dict[Path, Path]:
    return {place: mine / name for place, mine in hierarchies().items()}


def _fill_cpuset(group: Path) -> None:
    """Fill a cpuset of version 1: it is empty at first, and accepts no process then."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / "cgroup.clone_children").exists() and (group / name).exists():
            (group / name).write_text((group.parent / name).read_text())
            (group / "cgroup.clone_children").write_text("1")


def _remove(group: Path) -> None:
    """Remove a group and its subgroups, as soon as the kernel has removed their processes."""
    for folder in sorted((*group.rglob("*/"), group), reverse=True):
        for _ in range(_TRIES):
            with suppress(OSError):
                folder.rmdir()
            if not folder.exists():
                break
            time.sleep(0.02)
        else:
            folder.rmdir()
