"""The program that balances by packets, on every link by which they come into the node."""

import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv6Address

from proxy.backends.ebpf import policy
from proxy.backends.ebpf.ingress import attach, detach_filter, is_attached
from proxy.backends.ebpf.layout import pack_number
from proxy.backends.ebpf.libbpf import (
    BUILT,
    BpfMap,
    BpfObject,
    Libbpf,
    load_object,
    program_id,
    unpin_link,
)
from proxy.backends.ebpf.maps import SharedMaps
from proxy.backends.ebpf.mounts import INLETS, LINKS, MAPS, PINS
from proxy.linux.links import Link, LinkListener, all_links
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family

OBJECT = BUILT / "packets.bpf.o"
PROGRAM = "balance_ingress"
_MODULES = ("nf_conntrack", "nf_nat")  # they have the functions that the program calls

# enum link_flag of bpf/neighbors.h. The two lower bits mark links of Pods, one for each family.
_BRIDGED, _ETHERNET = 4, 8
_ENTRY = struct.Struct("=Bx6s6s")  # struct link of bpf/neighbors.h
_ANY_ADDRESS: dict[Family, Address] = {Family.V4: IPv4Address(0), Family.V6: IPv6Address(0)}


class PacketPrograms:
    """Follows the links of this network namespace.

    Packets of a link that has no program yet meet nftables' rules.
    """

    def __init__(self, settings: ProxySettings, library: Libbpf, maps: SharedMaps) -> None:
        """Load a program that uses ``maps``. Raises KernelRefusedError, OSError."""
        self._settings = settings
        self.library = library
        self._links: set[int] = set()
        self.ports: Mapping[int, int] = {}  # the bridge of each port that runs the program
        self.come_first = True  # no tc filter of another program can take packets before

        def prepare(fresh: BpfObject) -> None:
            maps.lend(fresh)
            for name in policy.NAMES:
                fresh.share(name, MAPS / policy.pin_name(name))

        with (
            closing(load_object(library, OBJECT, prepare, _MODULES)) as loaded,
            ExitStack() as undo,
        ):
            self._entries = BpfMap(library, loaded.map_fd("links"), "links")
            undo.callback(self._entries.close)
            self.program = os.dup(loaded.program_fd(PROGRAM))
            undo.callback(os.close, self.program)
            self._events = LinkListener()
            undo.callback(self._events.close)
            self._held = undo.pop_all()

    def begin_early(self) -> None:
        """Attach the program while its maps are empty, unless an earlier run left programs.

        It lets every packet pass then. The kernel waits 15 ms at each link, for packets that are on
        their way. Raises KernelRefusedError, OSError.
        """
        if not any((*LINKS.iterdir(), *INLETS.iterdir())):
            self.begin()

    def begin(self) -> None:
        """Attach the program to every link that has not got it, in an older one's place.

        Raises KernelRefusedError, OSError.
        """
        self._attach_to(all_links())

    def close(self) -> None:
        """Stop following links. The program stays attached."""
        self._held.close()

    def follow(self) -> None:
        """Attach the program to links that came since. Raises KernelRefusedError, OSError."""
        if self._events.has_events():
            self._attach_to(all_links())

    def are_attached(self) -> bool:
        """Return True if every link runs the program. Raises KernelRefusedError."""
        wanted = program_id(self.library, self.program)
        return all(is_attached(self.library, wanted, number) for number in self._links)

    def _attach_to(self, links: Iterable[Link]) -> None:
        """Attach the program to new links and detach it from links that are gone.

        ``links`` are all links. An old link may have changed: it may be another bridge's.
        """
        every = {link.number: link for link in links}
        entries = {
            number: self._entry(link, every)
            for number, link in every.items()
            if not link.is_loopback
        }
        self._entries.update({pack_number(number): entry for number, entry in entries.items()})
        self._entries.delete([pack_number(number) for number in self._links - entries.keys()])
        for number in entries.keys() - self._links:
            path = INLETS / str(number)
            self.come_first &= attach(self.library, self.program, number, path)
        for path in INLETS.iterdir():
            if int(path.name) not in entries:
                unpin_link(self.library, path)
        self._links = set(entries)
        self.ports = {number: every[number].bridge for number in entries if every[number].bridge}

    def _entry(self, link: Link, every: Mapping[int, Link]) -> bytes:
        """Pack ``struct link``. Firewall rules see a bridge's port under the bridge's name."""
        bridge = every.get(link.bridge)
        flags = link.is_ethernet * _ETHERNET
        if bridge is None:
            return _ENTRY.pack(flags | self._pods(link.name), b"", link.mac)
        return _ENTRY.pack(flags | _BRIDGED | self._pods(bridge.name), bridge.mac, link.mac)

    def _pods(self, name: str) -> int:
        """Return the bits of the families whose Pods' packets come in by an interface."""
        bits = 0
        for bit, family in enumerate(Family):
            pods = self._settings.pods.get(family)
            if pods and pods.network is None and pods.covers(_ANY_ADDRESS[family], name):
                bits |= 1 << bit
        return bits


def remove_packet_programs() -> None:
    """Detach the program from every link, if this backend has ever run here.

    Raises KernelRefusedError, OSError.
    """
    if PINS.exists():
        library = Libbpf()
        for path in INLETS.glob("*"):
            unpin_link(library, path)
        for link in all_links():
            detach_filter(library, link.number)
