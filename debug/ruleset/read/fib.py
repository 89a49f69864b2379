"""Asks the kernel for routes and addresses, as a packet would meet them (rtnetlink(7)).

An object belongs to the network namespace that its thread was in when it was made.
"""

import errno
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address, ip_network

from msgspec import Struct

from debug.ruleset.packet import Address, Device, State
from debug.ruleset.registers import UnknownError
from proxy.linux.netlink import ROUTE, Netlink, attribute, attributes, consistent, text

_GET_LINK, _GET_ADDRESS, _GET_ROUTE, _GET_NEIGHBOR = 18, 22, 26, 30
_LINK = struct.Struct("=BxHiII")  # ifinfomsg
_OF_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_NEIGHBOR = struct.Struct("=BxxxiHBB")  # ndmsg
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_DST, _SRC, _IIF, _OIF, _GATEWAY, _PREFSRC, _MARK, _VIA = 1, 2, 3, 4, 5, 7, 16, 18
_IP_PROTO, _SPORT, _DPORT = 27, 28, 29
UNICAST, LOCAL, BROADCAST, MULTICAST, UNREACHABLE = 1, 2, 3, 5, 7
KINDS = {
    **{1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"},
    **{6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"},
}
_SADDR, _MARKED, _FROM_IIF, _FROM_OIF = 0x1, 0x4, 0x8, 0x10
_SECONDARY, _UP = 0x1, 0x1
_REFUSED = (
    *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EXDEV, errno.EACCES),
    errno.ESRCH,
)


_PORT, _HAIRPIN = 5, 4  # IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_MODE: linux/if_link.h


class LinkFact(Struct, frozen=True):
    """A link: what a packet needs to know of it. ``peer`` is an index in another namespace."""

    device: Device
    up: bool
    mtu: int
    master: int = 0
    peer: int = 0
    peer_netns: int | None = None  # this namespace's number for the peer's; None: this one
    mac: bytes = b""
    hairpin: bool = False  # of a bridge's port: it sends back where a frame came from


class RouteFact(Struct, frozen=True):
    """The kernel's answer to a question for a route."""

    kind: str  # unicast, local, broadcast, multicast, or why there is none
    device: int = 0
    gateway: str = ""
    source: str = ""
    refused: str = ""  # the error's text: no route, or reverse path filtering


class Questions(ABC):
    """What rules ask of routes and addresses, for whoever knows these. Implements packet.Fib."""

    @property
    @abstractmethod
    def links(self) -> Mapping[int, LinkFact]:
        """The links by their index."""

    @property
    @abstractmethod
    def addresses(self) -> Sequence[tuple[int, Address, int, bool]]:
        """The addresses, in the kernel's order: link, address, prefix length, is secondary."""

    @abstractmethod
    def route(
        self,
        to: Address,
        *,
        source: Address | None = None,
        iif: int = 0,
        oif: int = 0,
        mark: int = 0,
        ports: tuple[int, int, int] | None = None,
    ) -> RouteFact:
        """Ask for a route; ``ports`` are protocol, source and destination port.

        With ``iif`` it is that of a packet received there, and the reverse path is checked.
        """

    def kind(self, address: Address, device: int | None) -> int:
        """The type of an address: what the table of local addresses says, unicast of the rest."""
        if address.is_multicast:
            return MULTICAST
        found = self.route(address)
        number = next((one for one, name in KINDS.items() if name == found.kind), UNICAST)
        if number == UNREACHABLE or number not in (LOCAL, BROADCAST, 4):
            return UNREACHABLE if address.version == 6 and found.refused else UNICAST
        if device is not None and number == LOCAL and not self._is_on(address, device):
            return UNICAST
        return number

    def _is_on(self, address: Address, device: int) -> bool:
        """Return True if an address is a device's: all of 127.0.0.0/8 is loopback's."""
        for link, one, length, _ in self.addresses:
            if link != device or one.version != address.version:
                continue
            if one == address or (
                one.is_loopback and address in ip_network(f"{one}/{length}", strict=False)
            ):
                return True
        return False

    def device(self, state: State, flags: int) -> Device | None:
        """The device to which ``fib``'s route leads; None if there is none, or it is local."""
        packet = state.packet
        to = packet.source if flags & _SADDR else packet.destination
        via = state.iif if flags & _FROM_IIF else state.oif if flags & _FROM_OIF else None
        mark = state.mark if flags & _MARKED else 0
        found = self.route(to, mark=mark, oif=via.index if via and to.version == 6 else 0)
        if found.kind != "unicast" or (via and found.device != via.index):
            return None
        link = self.links.get(found.device)
        return link.device if link else None

    def own_address(self, device: Device, toward: Address) -> Address:
        """The address that a device's packets get; raises UnknownError if it has none."""
        version = toward.version
        if version == 6:
            found = self.route(toward, oif=device.index)
            if found.source:
                return ip_address(found.source)
        usable = [one for one in self.addresses if one[1].version == version and not one[3]]
        own = [one for one in usable if one[0] == device.index and not one[1].is_link_local]
        for _, address, length, _ in own:
            if toward in ip_network(f"{address}/{length}", strict=False):
                return address
        if own:
            return own[0][1]
        others = [one for one in usable if not one[1].is_loopback and not one[1].is_link_local]
        if others and version == 4:
            return others[0][1]
        raise UnknownError(f"device {device.name} has no address of IPv{version}")


class KernelFib(Questions):
    """Routes and addresses of one network namespace. Raises OSError."""

    def __init__(self) -> None:
        self._netlink = Netlink(ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    @cached_property
    def links(self) -> dict[int, LinkFact]:
        """The links by their index."""
        body = bytes(_LINK.size)
        found = consistent(lambda: list(self._netlink.dump(_GET_LINK, body)))
        return {one.device.index: one for one in map(_link, found)}

    @cached_property
    def addresses(self) -> list[tuple[int, Address, int, bool]]:
        """The addresses, in the kernel's order: link, address, prefix length, is secondary."""
        body = bytes(_OF_ADDRESS.size)
        messages = consistent(lambda: list(self._netlink.dump(_GET_ADDRESS, body)))
        found = []
        for message in messages:
            _, length, flags, _, link = _OF_ADDRESS.unpack_from(message)
            parts = attributes(message[_OF_ADDRESS.size :])
            if value := parts.get(2) or parts.get(1):
                found.append((link, ip_address(value), length, bool(flags & _SECONDARY)))
        return found

    def route(
        self,
        to: Address,
        *,
        source: Address | None = None,
        iif: int = 0,
        oif: int = 0,
        mark: int = 0,
        ports: tuple[int, int, int] | None = None,
    ) -> RouteFact:
        """Ask the kernel for a route."""
        length = to.max_prefixlen
        head = _ROUTE.pack(_FAMILIES[to.version], length, length if source else 0, *(0,) * 6)
        body = head + attribute(_DST, to.packed)
        if source is not None:
            body += attribute(_SRC, source.packed)
        for kind, value in ((_IIF, iif), (_OIF, oif), (_MARK, mark)):
            if value:
                body += attribute(kind, value.to_bytes(4, sys.byteorder))
        if ports is not None and ports[0] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            body += attribute(_IP_PROTO, bytes(ports[:1]))
            body += attribute(_SPORT, ports[1].to_bytes(2, "big"))
            body += attribute(_DPORT, ports[2].to_bytes(2, "big"))
        try:
            answer = self._netlink.get(_GET_ROUTE, body)
        except OSError as err:
            if err.errno in _REFUSED:
                return RouteFact("unreachable", refused=err.strerror or str(err))
            raise
        return _route(answer)

    def neighbors(self) -> list[tuple[int, str, int, bytes]]:
        """The neighbor tables: link, address, state (NUD_*), hardware address."""
        body = bytes(_NEIGHBOR.size)
        found = []
        for message in consistent(lambda: list(self._netlink.dump(_GET_NEIGHBOR, body))):
            _, link, state, _, _ = _NEIGHBOR.unpack_from(message)
            parts = attributes(message[_NEIGHBOR.size :])
            if 1 in parts and len(parts[1]) in (4, 16):
                found.append((link, str(ip_address(parts[1])), state, parts.get(2, b"")))
        return found


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)


def _link(message: bytes) -> LinkFact:
    _, hardware, index, flags, _ = _LINK.unpack_from(message)
    parts = attributes(message[_LINK.size :])
    info = attributes(parts.get(18, b""))  # IFLA_LINKINFO
    kind = text(info.get(1, b""))
    port = attributes(info.get(_PORT, b""))
    device = Device(index, text(parts[3]), kind, _number(parts.get(27)), hardware)
    netns = int.from_bytes(parts[37], sys.byteorder, signed=True) if 37 in parts else None
    return LinkFact(
        device,
        bool(flags & _UP),
        _number(parts.get(4)),
        _number(parts.get(10)),
        _number(parts.get(5)),
        netns,
        parts.get(1, b""),
        port.get(_HAIRPIN, b"\0") != b"\0",
    )


def _route(message: bytes) -> RouteFact:
    kind = _ROUTE.unpack_from(message)[7]
    parts = attributes(message[_ROUTE.size :])
    gateway = parts.get(_GATEWAY) or parts.get(_VIA, b"")[2:]
    return RouteFact(
        KINDS.get(kind, f"kind {kind}"),
        _number(parts.get(_OIF)),
        str(ip_address(gateway)) if gateway else "",
        str(ip_address(parts[_PREFSRC])) if _PREFSRC in parts else "",
    )
