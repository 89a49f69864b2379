"""One network namespace, asked for what a packet needs to know.

Its sockets are made inside it, and may be used from outside.
"""

import os
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from debug.explain.connections import KernelConnections
from debug.places import Place, PlaceError, entered
from debug.ruleset.packet import Address, Device, Entry, Packet, Tuple
from debug.ruleset.read.both import AllRules
from debug.ruleset.read.fib import KernelFib, LinkFact, Questions
from debug.ruleset.values import Rules, Table
from proxy.linux.netlink import ROUTE, Netlink, attribute, attributes, consistent

_SETTINGS = Path("/proc/sys")  # below net/ those of the reading thread's namespace
_GET_NSID, _GET_NEIGHBOR, _GET_LINK = 90, 30, 18
_NSID, _FD = 1, 3  # NETNSA_*
_NEIGHBOR = struct.Struct("=BxxxiHBB")  # ndmsg
_LINK = struct.Struct("=BxHiII")  # ifinfomsg
_INFO, _DATA = 18, 2  # IFLA_LINKINFO, IFLA_INFO_DATA
_REACHED = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT


class Tunnel(Struct, frozen=True):
    """A VXLAN device: its network's number, UDP port, and the node's address."""

    vni: int
    port: int
    local: str


class Rulebook(Rules, Protocol):
    """Rules, and the tables that they are in, by family and name."""

    @property
    def tables(self) -> Mapping[tuple[str, str], Table]:
        """The tables by family and name."""
        ...


class Space(ABC):
    """A network namespace, from whatever tells of it."""

    place: Place
    rules: Rulebook
    fib: Questions

    @property
    def name(self) -> str:
        """The place in words."""
        return self.place.name

    def link(self, device: Device) -> LinkFact:
        """The link of a device."""
        return self.fib.links[device.index]

    @cached_property
    def addresses(self) -> frozenset[Address]:
        """All addresses here."""
        return frozenset(address for _, address, *_ in self.fib.addresses)

    @abstractmethod
    def close(self) -> None:
        """Close what was opened."""

    @abstractmethod
    def sysctl(self, name: str) -> str | None:
        """A setting of this namespace."""

    @abstractmethod
    def connection(self, packet: Packet, ends: Tuple, *, answer: bool = False) -> Entry | None:
        """The entry of conntrack that has these ends. Raises UnknownError."""

    @abstractmethod
    def number_of(self, other: "Space") -> int | None:
        """The number by which this namespace knows another one; None if it does not."""

    @abstractmethod
    def hardware_address(self, device: Device, address: str) -> bytes | None:
        """The hardware address of a neighbor, if the kernel knows it."""

    @abstractmethod
    def tunnel_end(self, device: Device, mac: bytes) -> str | None:
        """The node to which a tunnel sends frames for a hardware address."""

    @abstractmethod
    def tunnel(self, device: Device) -> Tunnel:
        """What a VXLAN device is."""

    @abstractmethod
    def calls_rules(self, bridge: Device, version: int) -> bool:
        """Return True if a bridge shows its frames to the rules of IPv4 or IPv6 (br_netfilter)."""


class KernelSpace(Space):
    """A namespace that can be entered, read as it is needed. Raises OSError, PlaceError."""

    def __init__(self, place: Place, *, asks_conntrack: bool = True) -> None:
        self.place = place
        self._asks_conntrack = asks_conntrack
        with entered(place):
            self._connections = KernelConnections()
            self.rules: AllRules = AllRules()
            self.fib: KernelFib = KernelFib()
            self._netlink = Netlink(ROUTE)

    def close(self) -> None:
        """Close the sockets."""
        self.rules.close()
        self.fib.close()
        self._connections.close()
        self._netlink.close()

    def sysctl(self, name: str) -> str | None:
        """A setting of this namespace."""
        with entered(self.place):
            try:
                return (_SETTINGS / name).read_text().strip()
            except FileNotFoundError:
                return None

    def connection(self, packet: Packet, ends: Tuple, *, answer: bool = False) -> Entry | None:
        """The entry of conntrack that has these ends. Raises UnknownError."""
        if not self._asks_conntrack:
            return None
        return self._connections.find(packet, ends, answer=answer)

    def number_of(self, other: Space) -> int | None:
        """The number by which this namespace knows another one; None if it does not."""
        fd = os.open(other.place.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = bytes(4) + attribute(_FD, fd.to_bytes(4, sys.byteorder))
            answer = self._netlink.get(_GET_NSID, body)
        finally:
            os.close(fd)
        number = int.from_bytes(attributes(answer[4:])[_NSID], sys.byteorder, signed=True)
        return None if number < 0 else number

    @cached_property
    def _neighbors(self) -> dict[tuple[int, str], bytes]:
        found = self.fib.neighbors()
        return {(link, ip): mac for link, ip, state, mac in found if state & _REACHED and mac}

    def hardware_address(self, device: Device, address: str) -> bytes | None:
        """The hardware address of a neighbor, if the kernel knows it."""
        return self._neighbors.get((device.index, address))

    @cached_property
    def _forwarding(self) -> dict[tuple[int, bytes], str]:
        """Where tunnels and bridges send frames: link and hardware address -> a node's address."""
        body = _NEIGHBOR.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
        found = {}
        for message in consistent(lambda: list(self._netlink.dump(_GET_NEIGHBOR, body))):
            link = _NEIGHBOR.unpack_from(message)[1]
            parts = attributes(message[_NEIGHBOR.size :])
            if 1 in parts and 2 in parts:
                found[link, parts[2]] = str(ip_address(parts[1]))
        return found

    def tunnel_end(self, device: Device, mac: bytes) -> str | None:
        """The node to which a tunnel sends frames for a hardware address."""
        return self._forwarding.get((device.index, mac)) or self._forwarding.get(
            (device.index, bytes(6))
        )

    def tunnel(self, device: Device) -> Tunnel:
        """What a VXLAN device is."""
        body = _LINK.pack(0, 0, device.index, 0, 0)
        answer = self._netlink.get(_GET_LINK, body)
        info = attributes(attributes(answer[_LINK.size :])[_INFO])
        data = attributes(info[_DATA])
        local = data.get(4) or data.get(17, b"")
        return Tunnel(
            int.from_bytes(data[1], sys.byteorder),
            int.from_bytes(data[15], "big"),
            str(ip_address(local)) if local else "",
        )

    def calls_rules(self, bridge: Device, version: int) -> bool:
        """Return True if a bridge shows its frames to the rules of IPv4 or IPv6 (br_netfilter)."""
        word = {4: "iptables", 6: "ip6tables"}[version]
        if self.sysctl(f"net/bridge/bridge-nf-call-{word}") == "1":
            return True
        body = _LINK.pack(0, 0, bridge.index, 0, 0)
        answer = self._netlink.get(_GET_LINK, body)
        info = attributes(attributes(answer[_LINK.size :])[_INFO])
        data = attributes(info.get(_DATA, b""))
        return data.get({4: 36, 6: 37}[version], b"\0") != b"\0"


class Spaces:
    """All namespaces that can be looked into; each is read when a packet comes there.

    With ``new`` no connection counts that is there already.
    """

    def __init__(self, places: Sequence[Place], *, new: bool = False) -> None:
        self.places = places
        self.asks_conntrack = not new
        self._made: dict[Place, Space] = {}
        self._numbers: dict[Space, dict[int, Space]] = {}

    def close(self) -> None:
        """Close all sockets."""
        for one in self._made.values():
            one.close()

    def of(self, place: Place) -> Space:
        """The namespace of a place."""
        if place not in self._made:
            self._made[place] = self._make(place)
        return self._made[place]

    def _make(self, place: Place) -> Space:
        return KernelSpace(place, asks_conntrack=self.asks_conntrack)

    def peer(self, space: Space, link: LinkFact) -> tuple[Space, LinkFact] | None:
        """The other end of a cable, if its namespace can be entered."""
        if link.peer_netns is None:
            found = space.fib.links.get(link.peer)
            return (space, found) if found else None
        other = self._numbered(space, link.peer_netns)
        found = other.fib.links.get(link.peer) if other else None
        return (other, found) if other and found else None

    def _numbered(self, space: Space, number: int) -> Space | None:
        known = self._numbers.setdefault(space, {})
        if number not in known:
            for place in self.places:
                with suppress(OSError, PlaceError):  # the Pod has ended meanwhile
                    other = self.of(place)
                    if (found := space.number_of(other)) is not None:
                        known[found] = other
        return known.get(number)
