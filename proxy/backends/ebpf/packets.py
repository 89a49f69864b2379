"""The program that sees packets, on every link by which they come into the node."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address

from proxy.backends.ebpf.group import INLETS, PINS
from proxy.backends.ebpf.inlet import attach, detach_filter, is_attached
from proxy.backends.ebpf.layout import pack_number
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, BpfObject, Libbpf, program_id
from proxy.backends.ebpf.links import IngressLink, LinkListener, inlets
from proxy.backends.ebpf.maps import SharedMaps
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family

OBJECT = BUILT / "packets.bpf.o"
PROGRAM = "come_in"

# enum link of bpf/packets.bpf.c; the bits below say whose pods come in there.
_BRIDGED, _ETHERNET = 4, 8
_ANYBODY: dict[Family, Address] = {Family.V4: IPv4Address(0), Family.V6: IPv6Address(0)}


class PacketPrograms:
    """Follows the links of this network namespace. Where a link has no program yet, its packets
    meet nftables' rules.
    """

    def __init__(self, settings: ProxySettings, library: Libbpf, maps: SharedMaps) -> None:
        """Load a program that uses ``maps``; raises KernelRefusedError, OSError."""
        self._settings = settings
        self.library = library
        self._links: set[int] = set()
        with BpfObject(library, OBJECT) as loaded, ExitStack() as undo:
            maps.lend(loaded)
            loaded.load()
            self._inlets = BpfMap(library, loaded.map_fd("inlets"), "inlets")
            undo.callback(self._inlets.close)
            self.program = os.dup(loaded.program_fd(PROGRAM))
            undo.callback(os.close, self.program)
            self._events = LinkListener()
            undo.callback(self._events.close)
            self._held = undo.pop_all()

    def begin(self) -> None:
        """Put the program into an old one's place; raises KernelRefusedError, OSError."""
        self._take(inlets())

    def close(self) -> None:
        """Follow no more; the program stays where it is."""
        self._held.close()

    def follow(self) -> None:
        """Serve the links that came since; raises KernelRefusedError, OSError."""
        if self._events.heard():
            self._take(inlets())

    def are_attached(self) -> bool:
        """Whether the kernel asks the program on every link; raises KernelRefusedError."""
        wanted = program_id(self.library, self.program)
        return all(is_attached(self.library, wanted, one) for one in self._links)

    def _take(self, links: Iterable[IngressLink]) -> None:
        """These are all links. The bridge of one may have changed."""
        flags = {one.number: self._flags(one) for one in links}
        self._inlets.update({pack_number(number): bytes([one]) for number, one in flags.items()})
        self._inlets.delete([pack_number(number) for number in self._links - flags.keys()])
        for number in flags.keys() - self._links:
            attach(self.library, self.program, number, INLETS / str(number))
        for path in INLETS.iterdir():
            if int(path.name) not in flags:
                path.unlink()
        self._links = set(flags)

    def _flags(self, link: IngressLink) -> int:
        flags = link.is_bridged * _BRIDGED | link.is_ethernet * _ETHERNET
        for bit, family in enumerate(Family):
            pods = self._settings.pods.get(family)
            if pods and pods.network is None and pods.covers(_ANYBODY[family], link.seen_as):
                flags |= 1 << bit
        return flags


def remove_inlets() -> None:
    """Take the program from every link, if there has been anything of ours.

    Raises KernelRefusedError, OSError.
    """
    if PINS.exists():
        library = Libbpf()
        for path in INLETS.glob("*"):
            path.unlink()
        for link in inlets():
            detach_filter(library, link.number)
