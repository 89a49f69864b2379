"""The programs in the kernel: loaded with maps of their own, then put in the old ones' place."""

import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from proxy.ebpf.group import LINKS, MAPS, PINS, find_group, is_pinning_possible, mount_pins
from proxy.ebpf.layout import PRESENT, pack_address, pack_settings
from proxy.ebpf.libbpf import Library, Map, Object, attach, pin, pinned, replace
from proxy.ebpf.table import Change
from proxy.errors import KernelRefused
from proxy.model import Address
from proxy.settings import Settings

OBJECT = Path(__file__).resolve().parents[2] / "build" / "sockets.bpf.o"

# program: enum bpf_attach_type of linux/bpf.h. What translates back is there first.
PROGRAMS: Mapping[str, int] = {
    "getpeername4": 29,
    "getpeername6": 30,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "connect4": 10,
    "connect6": 11,
}
_TABLES = ("settings", "frontends", "endpoints", "members", "places")
_MEMORIES = ("callees", "choices")
_LAYOUT = 1  # of the memories: a proxy with another one begins new ones
_LEAST = 65536  # entries for which each table has room
_SPARE = 4  # times what is there when it is made
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h


class Hooks:
    """The programs that serve this network namespace's node. Links and maps are pinned, so that
    they outlive this process.
    """

    def __init__(self, settings: Settings, root: str) -> None:
        self._settings = settings
        self._root = root
        self._library = Library()
        self._maps: dict[str, Map] = {}

    def load(self, contents: Change, addresses: Iterable[Address]) -> None:
        """New programs with new tables, put into force once the tables are full.

        Raises KernelRefused.
        """
        if not OBJECT.exists():
            raise KernelRefused(
                f"ebpf: {OBJECT} is missing: install clang and libbpf-dev, then run bin/setup"
            )
        group = find_group(self._root)
        mount_pins()
        with Object(self._library, OBJECT) as loaded:
            self._prepare(loaded, contents)
            self._open_maps(loaded)
            self._maps["settings"].update(
                {bytes(4): pack_settings(self._settings, _netns_cookie())}
            )
            self._maps["places"].update({pack_address(one): PRESENT for one in addresses})
            self.write(contents)
            self._attach(loaded, group)
        for name, table in self._maps.items():
            table.pin(MAPS / name)

    def write(self, change: Change) -> None:
        """Follow a change, so that no frontend ever names a pool that is not there."""
        maps = self._maps
        maps["endpoints"].update(change.endpoints)
        maps["members"].update(change.members)
        maps["frontends"].update(change.frontends)
        maps["frontends"].delete(change.gone_frontends)
        maps["endpoints"].delete(change.gone_endpoints)
        maps["members"].delete(change.gone_members)

    def are_attached(self) -> bool:
        """Whether every link is where it was pinned."""
        return all(any(LINKS.glob(f"*-{name}")) for name in PROGRAMS)

    def _prepare(self, loaded: Object, contents: Change) -> None:
        loaded.resize("frontends", max(_LEAST, len(contents.frontends) * _SPARE))
        loaded.resize("endpoints", max(_LEAST, len(contents.endpoints) * _SPARE))
        loaded.resize("members", max(_LEAST, len(contents.members) * _SPARE))
        for name in _MEMORIES:
            loaded.share(name, MAPS / f"{name}-{_LAYOUT}")
        loaded.load()

    def _open_maps(self, loaded: Object) -> None:
        for table in self._maps.values():
            table.close()
        self._maps = {name: Map(self._library, loaded.map_fd(name), name) for name in _TABLES}

    def _attach(self, loaded: Object, group: Path) -> None:
        """Replace each program of this cgroup in one step; links to another cgroup go last."""
        inode = group.stat().st_ino
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, kind in PROGRAMS.items():
                self._link(loaded.program_fd(name), directory, kind, LINKS / f"{inode}-{name}")
        finally:
            os.close(directory)
        for path in LINKS.iterdir():
            if not path.name.startswith(f"{inode}-"):
                path.unlink()

    def _link(self, program: int, directory: int, kind: int, path: Path) -> None:
        link = pinned(self._library, path)
        if link is not None:
            replaced = replace(self._library, link, program)
            os.close(link)
            if replaced:
                return
        link = attach(self._library, program, directory, kind)
        try:
            pin(self._library, link, path)
        finally:
            os.close(link)


def remove_hooks() -> None:
    """Unpin everything, which detaches it; may be asked twice."""
    if is_pinning_possible():
        with suppress(FileNotFoundError):
            shutil.rmtree(PINS)


def _netns_cookie() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        cookie = one.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int.from_bytes(cookie, "little")
