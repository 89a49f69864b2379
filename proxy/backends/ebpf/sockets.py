"""The programs that balance at sockets: loaded with new maps, then attached in place of the old."""

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from proxy.backends.ebpf.layout import pack_settings
from proxy.backends.ebpf.libbpf import (
    BUILT,
    BpfObject,
    Libbpf,
    attach,
    load_object,
    pin,
    pinned,
    replace,
    unpin_link,
)
from proxy.backends.ebpf.maps import SharedMaps
from proxy.backends.ebpf.mounts import LINKS, find_cgroup, mount_pins
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.ebpf.room import MapRoom
from proxy.model.settings import ProxySettings
from proxy.model.values import Address

OBJECT = BUILT / "sockets.bpf.o"

# program: enum bpf_attach_type of linux/bpf.h. Programs that translate back are attached first.
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
_COUNTING: Mapping[str, int] = {"count_ingress": 0, "count_egress": 1}  # of sockets' packets
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h


class SocketPrograms:
    """Serves one node, which is this network namespace. Its maps are for other programs too.

    Links and maps are pinned, so that they outlive this process. Order of use: ``load``,
    ``set_node`` and ``maps.write``, ``attach``; the methods raise KernelRefusedError.
    """

    def __init__(self, settings: ProxySettings, options: EbpfOptions) -> None:
        self._settings = settings
        self._options = options
        self._programs = {**PROGRAMS, **(_COUNTING if options.counts_packets else {})}
        self.library = Libbpf()
        self.maps = SharedMaps()
        self._loaded: dict[str, int] = {}  # descriptors of programs that are not attached yet

    def load(self, room: MapRoom) -> None:
        """Load the programs with new, empty maps; the kernel checks them meanwhile."""
        mount_pins()

        def prepare(fresh: BpfObject) -> None:
            self.maps.prepare(fresh, room)

        with closing(load_object(self.library, OBJECT, prepare)) as loaded:
            self.maps.open(loaded, self.library)
            self.close()
            self._loaded = {name: os.dup(loaded.program_fd(name)) for name in self._programs}

    def set_node(self, addresses: Iterable[Address]) -> None:
        """Write settings and node into the maps. ``addresses`` serve NodePorts."""
        settings = pack_settings(self._settings, self._options, _netns_cookie())
        self.maps.set_node(settings, addresses)

    def attach(self) -> None:
        """Attach the programs, in place of older ones."""
        self._attach(find_cgroup(self._options.root))
        self.close()
        self.maps.pin()

    def close(self) -> None:
        """Close the descriptors of programs. Those that are attached stay."""
        while self._loaded:
            os.close(self._loaded.popitem()[1])

    def are_attached(self) -> bool:
        """Return True if every link is still pinned."""
        return all(any(LINKS.glob(f"*-{name}")) for name in self._programs)

    def _attach(self, cgroup: Path) -> None:
        """Replace each program of this cgroup in one step, then remove links of other cgroups."""
        inode = cgroup.stat().st_ino
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, kind in self._programs.items():
                self._link(self._loaded[name], directory, kind, LINKS / f"{inode}-{name}")
        finally:
            os.close(directory)
        wanted = {f"{inode}-{name}" for name in self._programs}
        for path in LINKS.iterdir():
            if path.name not in wanted:
                unpin_link(self.library, path)

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


def remove_socket_programs() -> None:
    """Detach the programs from every cgroup. Raises KernelRefusedError, OSError."""
    for path in LINKS.glob("*"):
        unpin_link(Libbpf(), path)


def _netns_cookie() -> int:
    """Return the number by which programs know this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        cookie = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int.from_bytes(cookie, "little")
