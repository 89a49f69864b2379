"""Checkpoints in JSON, mounts, and folders that are removed whole."""

import json
import shutil
from pathlib import Path
from typing import Any

from control.linux import syscalls, whole


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; raises OSError."""
    whole.write(path, json.dumps(value), 0o600)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None when it is absent, torn, or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def is_mounted(path: Path) -> bool:
    """True if something is mounted on this file or folder: its device is not its parent's."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def unmount(path: Path) -> None:
    """Unmount everything that is mounted on a path."""
    while is_mounted(path):
        syscalls.unmount(str(path))


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it; an absent one is removed already."""
    shutil.rmtree(path, ignore_errors=False, onerror=_only_absent)


def _only_absent(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
