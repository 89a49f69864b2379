"""The mounts of a container, and the subPaths that are bound on the node for it.

A runtime follows links in a mount's source, also those that a container has made in its own
volume. So a subPath is opened below its volume, and what was opened is bound to a place of the
agent's: ROOT/SANDBOX/NAME.ATTEMPT/NUMBER. The runtime mounts that.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from control.linux import beneath, syscalls
from control.runtime.base import ContainerConfig, Mount
from control.runtime.cri import render
from control.runtime.cri.v1 import api_pb2 as pb


class Mounts:
    """The bound subPaths of a node."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def make(self, sandbox_id: str, config: ContainerConfig, hosts: Path) -> list[pb.Mount]:
        """Return the messages of a container's mounts, with subPaths bound; raises OSError."""
        folder = self._root / sandbox_id / f"{config.name}.{config.attempt}"
        _remove(folder)  # of a try that failed
        made = []
        for number, mount in enumerate(config.mounts):
            source = _bind(mount, folder / str(number)) if mount.sub_path else mount.source
            made.append(
                render.mount(
                    source,
                    mount.target,
                    read_only=mount.read_only,
                    propagation=mount.propagation,
                )
            )
        if all(mount.target != "/etc/hosts" for mount in config.mounts):
            made.append(render.mount(str(hosts), "/etc/hosts"))
        return made

    def remove_container(self, sandbox_id: str, name: str) -> None:
        """Unbind what a container had; ``name`` is NAME.ATTEMPT."""
        _remove(self._root / sandbox_id / name)

    def remove(self, sandbox_id: str) -> None:
        """Unbind what a sandbox's containers had."""
        folder = self._root / sandbox_id
        for container in folder.iterdir() if folder.is_dir() else ():
            _remove(container)
        _remove_empty(folder)


def _bind(mount: Mount, place: Path) -> str:
    volume = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    try:
        found = beneath.open_sub_path(volume, mount.sub_path)
    finally:
        os.close(volume)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if stat.S_ISDIR(os.fstat(found).st_mode) else place.touch()
        syscalls.mount(f"/proc/self/fd/{found}", place, None, syscalls.MS_BIND | syscalls.MS_REC)
    finally:
        os.close(found)
    return str(place)


def _remove(folder: Path) -> None:
    """Unmount and remove the places of a container.

    Never by a walk through the tree: a mount that stays would lead it into a volume.
    """
    for place in folder.iterdir() if folder.is_dir() else ():
        _unmount(place)
        place.unlink() if place.is_file() else place.rmdir()
    _remove_empty(folder)


def _unmount(place: Path) -> None:
    """Unmount all that is bound to a place; what is mounted may have the same device."""
    with suppress(OSError):  # EINVAL: nothing is mounted there any more
        while True:
            syscalls.unmount(place)


def _remove_empty(folder: Path) -> None:
    with suppress(FileNotFoundError):
        folder.rmdir()
