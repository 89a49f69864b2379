"""Where a request takes place: what the plugin is given besides the request."""

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
    """A client's view of its machine.

    ``root`` is the client's root directory; ``netns`` a descriptor of the container's network
    namespace, None when there is nothing at CNI_NETNS; ``remove`` removes links of the host.
    """

    root: Path
    netns: int | None
    boot_id: str
    remove: Callable[[Namespace, Sequence[str]], None] = remove


def below(root: Path, path: str) -> Path:
    """A path as its owner sees it, whose root directory may be another than ours: no ``..`` leads
    out of it.
    """
    return root / normpath(f"/{path}").lstrip("/")


def read_boot_id() -> str:
    """What is another after each boot."""
    return _BOOT_ID.read_text().strip()


def open_namespace(path: str) -> int | None:
    """A descriptor of what CNI_NETNS names; None when there is nothing."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    except (OSError, ValueError):
        return None
