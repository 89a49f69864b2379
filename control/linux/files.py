"""Where the runtime keeps what must survive it, and how it is written.

    ROOT/sandboxes/ID/   config.json  network.json  hosts  hostname  resolv.conf  shm/  ns/
    ROOT/containers/ID/  config.json  spec.json  started.json  exit.json  shim.log  upper/ work/

A file is written aside and renamed, so that a reader meets all of it or none. No fsync: what a
power failure could tear describes processes that it has killed as well.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from control.linux import syscalls


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all; raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(text)
        fresh.chmod(mode)
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all; raises OSError."""
    write(path, json.dumps(value), 0o600)


def read_json(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None when it is absent, torn, or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def is_mounted(path: Path) -> bool:
    """Whether something is bound over this file or folder: its device is not its parent's."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def unmount(path: Path) -> None:
    """Take away every mount on top of a path."""
    while is_mounted(path):
        syscalls.unmount(str(path))


def remove_tree(path: Path) -> None:
    """Remove a folder with all in it; absent is removed."""
    shutil.rmtree(path, ignore_errors=False, onerror=_only_absent)


def _only_absent(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
