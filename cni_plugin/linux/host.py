"""The machine of a request's client."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path

from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.removals import remove

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Host:
    """A client's machine, as the client sees it.

    ``root`` is the client's root directory. ``netns`` is a descriptor of the file at CNI_NETNS,
    None if there is none. ``remove`` removes links of the host.
    """

    root: Path
    netns: int | None
    boot_id: str
    remove: Callable[[Namespace, Sequence[str]], None] = remove


def below(root: Path, path: str) -> Path:
    """A path below a root directory; ``..`` does not lead out of the root."""
    return root / normpath(f"/{path}").lstrip("/")


def read_boot_id() -> str:
    """The kernel's boot ID: it changes with each boot."""
    return _BOOT_ID.read_bytes().decode().strip()


def open_namespace(path: str) -> int | None:
    """A descriptor of the file at CNI_NETNS; None if there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    except (OSError, ValueError):
        return None
