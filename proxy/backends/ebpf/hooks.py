"""The programs in the kernel: loaded with maps of their own, then put in the old ones' place."""

import os
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from proxy.backends.ebpf.group import LINKS, PINS, find_group, is_pinning_possible, mount_pins
from proxy.backends.ebpf.layout import pack_settings
from proxy.backends.ebpf.libbpf import BUILT, BpfObject, Libbpf, attach, pin, pinned, replace
from proxy.backends.ebpf.maps import SharedMaps
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.ebpf.table import MapChanges
from proxy.model.settings import ProxySettings
from proxy.model.values import Address

OBJECT = BUILT / "sockets.bpf.o"

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
    "sock_release": 34,
}
_SEEING: Mapping[str, int] = {"come_back": 0, "go_out": 1}  # where packets are counted
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h


class SocketPrograms:
    """The programs that serve this network namespace's node, with maps that others may use too.
    Links and maps are pinned, so that they outlive this process.
    """

    def __init__(self, settings: ProxySettings, options: EbpfOptions) -> None:
        self._settings = settings
        self._options = options
        self._programs = {**PROGRAMS, **(_SEEING if options.counts_packets else {})}
        self.library = Libbpf()
        self.maps = SharedMaps()

    def load(
        self, contents: MapChanges, addresses: Iterable[Address], before: Callable[[], object]
    ) -> None:
        """New programs with new tables, put into force once the tables are full, and ``before`` has
        returned. Raises KernelRefusedError.
        """
        group = find_group(self._options.root)
        mount_pins()
        with BpfObject(self.library, OBJECT) as loaded:
            self.maps.prepare(loaded, contents)
            loaded.load()
            self.maps.open(loaded, self.library)
            settings = pack_settings(self._settings, self._options, _netns_cookie())
            self.maps.fill(settings, addresses, contents)
            before()
            self._attach(loaded, group)
        self.maps.pin()

    def are_attached(self) -> bool:
        """Whether every link is where it was pinned."""
        return all(any(LINKS.glob(f"*-{name}")) for name in self._programs)

    def _attach(self, loaded: BpfObject, group: Path) -> None:
        """Replace each program of this cgroup in one step; links that are not wanted go last."""
        inode = group.stat().st_ino
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, kind in self._programs.items():
                self._link(loaded.program_fd(name), directory, kind, LINKS / f"{inode}-{name}")
        finally:
            os.close(directory)
        wanted = {f"{inode}-{name}" for name in self._programs}
        for path in LINKS.iterdir():
            if path.name not in wanted:
                path.unlink()

    def _link(self, program: int, directory: int, kind: int, path: Path) -> None:
        link = pinned(self.library, path)
        if link is not None:
            replaced = replace(self.library, link, program)
            os.close(link)
            if replaced:
                return
        link = attach(self.library, program, directory, kind)
        try:
            pin(self.library, link, path)
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
