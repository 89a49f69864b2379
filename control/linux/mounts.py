"""Parses /proc/PID/mountinfo (proc(5)). Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(r"\\([0-7]{3})")  # blank, tab, newline and backslash


@dataclass(frozen=True, slots=True)
class MountPoint:
    """Where a file system is mounted, its type, and the options of the file system itself."""

    path: Path
    kind: str
    options: tuple[str, ...]


def parse(mountinfo: str) -> Iterator[MountPoint]:
    """Yield the mounts in the order in which they were made."""
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = [*system.split(" "), "", ""][:3]
        path = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), mount.split(" ")[4])
        yield MountPoint(Path(path), kind, tuple(options.split(",")))
