"""The program that balances by packets, on every link by which they come into the node."""

import os
from collections.abc import Iterable
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv6Address

from proxy.backends.ebpf.ingress import attach, detach_filter, is_attached
from proxy.backends.ebpf.layout import pack_number
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, BpfObject, Libbpf, program_id, unpin_link
from proxy.backends.ebpf.links import IngressLink, LinkListener, ingress_links
from proxy.backends.ebpf.maps import SharedMaps
from proxy.backends.ebpf.mounts import INLETS, PINS
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family

OBJECT = BUILT / "packets.bpf.o"
PROGRAM = "balance_ingress"

# enum link_flag of bpf/packets.bpf.c. The two lower bits mark links of Pods, one for each family.
_BRIDGED, _ETHERNET = 4, 8
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
        with closing(BpfObject(library, OBJECT)) as loaded, ExitStack() as undo:
            maps.lend(loaded)
            loaded.load()
            self._link_flags = BpfMap(library, loaded.map_fd("link_flags"), "link_flags")
            undo.callback(self._link_flags.close)
            self.program = os.dup(loaded.program_fd(PROGRAM))
            undo.callback(os.close, self.program)
            self._events = LinkListener()
            undo.callback(self._events.close)
            self._held = undo.pop_all()

    def begin(self) -> None:
        """Attach the program to every link, in an older one's place.

        Raises KernelRefusedError, OSError.
        """
        self._attach_to(ingress_links())

    def close(self) -> None:
        """Stop following links. The program stays attached."""
        self._held.close()

    def follow(self) -> None:
        """Attach the program to links that came since. Raises KernelRefusedError, OSError."""
        if self._events.has_events():
            self._attach_to(ingress_links())

    def are_attached(self) -> bool:
        """Return True if every link runs the program. Raises KernelRefusedError."""
        wanted = program_id(self.library, self.program)
        return all(is_attached(self.library, wanted, number) for number in self._links)

    def _attach_to(self, links: Iterable[IngressLink]) -> None:
        """Attach the program to new links and detach it from links that are gone.

        ``links`` are all links. The flags of an old link may have changed: it may be another
        bridge's.
        """
        flags = {link.number: self._flags(link) for link in links}
        self._link_flags.update(
            {pack_number(number): bytes([byte]) for number, byte in flags.items()}
        )
        self._link_flags.delete([pack_number(number) for number in self._links - flags.keys()])
        for number in flags.keys() - self._links:
            attach(self.library, self.program, number, INLETS / str(number))
        for path in INLETS.iterdir():
            if int(path.name) not in flags:
                unpin_link(self.library, path)
        self._links = set(flags)

    def _flags(self, link: IngressLink) -> int:
        """Return ``enum link_flag`` of a link: by which links Pods' packets come in."""
        flags = link.is_bridged * _BRIDGED | link.is_ethernet * _ETHERNET
        for bit, family in enumerate(Family):
            pods = self._settings.pods.get(family)
            if pods and pods.network is None and pods.covers(_ANY_ADDRESS[family], link.seen_as):
                flags |= 1 << bit
        return flags


def remove_packet_programs() -> None:
    """Detach the program from every link, if this backend has ever run here.

    Raises KernelRefusedError, OSError.
    """
    if PINS.exists():
        library = Libbpf()
        for path in INLETS.glob("*"):
            unpin_link(library, path)
        for link in ingress_links():
            detach_filter(library, link.number)
