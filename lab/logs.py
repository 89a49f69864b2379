"""Reads the logs of a lab's components."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.state import LabDir

_POLL_SECONDS = 0.2


class LogNotFoundError(OSError):
    """There is no such log; the text lists the existing ones."""


def find(lab: LabDir, component: str, machine: str | None) -> list[Path]:
    """Return the logs of a component, on one machine or on all; raises LogNotFoundError."""
    known = sorted(lab.logs.glob("*.log"))
    logs = {path: path.stem.partition("-")[0] for path in known if _component(path) == component}
    if not logs:
        names = ", ".join(sorted(set(map(_component, known))))
        raise LogNotFoundError(
            f"lab {lab.name} has no log of {component}; it has: {names or 'none'}"
        )
    if machine is not None and machine not in logs.values():
        names = ", ".join(logs.values())
        raise LogNotFoundError(
            f"lab {lab.name} has no log of {component} on {machine}; it has: {names}"
        )
    return [path for path, where in logs.items() if machine in (None, where)]


def _component(log: Path) -> str:
    return log.stem.partition("-")[2]


def show(
    files: Sequence[Path], *, tail: int | None, follow: bool, write: Callable[[str], None]
) -> None:
    """Write the logs; with several, each line begins with its machine."""
    streams = [(path, path.open(errors="replace")) for path in files]
    try:
        for path, stream in streams:
            lines = stream.readlines()
            for line in lines[len(lines) - tail :] if tail is not None else lines:
                write(_prefix(path, files) + line)
        while follow:
            time.sleep(_POLL_SECONDS)
            for path, stream in streams:
                for line in stream.readlines():
                    write(_prefix(path, files) + line)
    except KeyboardInterrupt:
        return
    finally:
        for _, stream in streams:
            stream.close()


def _prefix(path: Path, files: Sequence[Path]) -> str:
    return f"{path.stem.partition('-')[0]}: " if len(files) > 1 else ""
