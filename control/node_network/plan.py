"""Which routes, tunnel entries, sysctls and masquerading a node should have. Pure.

    routes   10.244.2.0/24 via NODE2           the nodes share a link, nothing is wrapped
    vxlan    10.244.2.0/24 via 10.244.2.0 dev podwire-vxlan onlink
             neighbour 10.244.2.0 -> MAC2      no ARP ever crosses the tunnel
             FDB MAC2 -> NODE2                 (as flannel's, RFC 7348 without learning)

A node's tunnel MAC follows from its address, so nodes need nothing of each other but the Node.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from control.api.node import Node

Address = IPv4Address | IPv6Address
Cidr = IPv4Network | IPv6Network
Overlay = Literal["routes", "vxlan"]

DEVICE = "podwire-vxlan"
# IANA's port. Flannel and Cilium use 8472, Calico 4789 with VNI 4096, Docker 4789 from VNI 4096.
PORT, VNI = 4789, 77
_LONGEST = 65535
_HEADERS = {4: 50, 6: 70}  # outer IP, UDP, VXLAN, inner Ethernet


@dataclass(frozen=True, slots=True)
class Peer:
    """A node, as far as the network cares."""

    name: str
    addresses: tuple[Address, ...]
    cidrs: tuple[Cidr, ...]

    def address(self, version: int) -> Address | None:
        """Its address of an IP version."""
        return next((it for it in self.addresses if it.version == version), None)


@dataclass(frozen=True, slots=True)
class Uplink:
    """The interface with the node's address."""

    ifname: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A way to another node's Pods; ``onlink`` trusts that the gateway is on the device."""

    cidr: Cidr
    via: Address
    ifname: str
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The MAC of a gateway inside the tunnel."""

    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """To which node the tunnel carries frames for a MAC."""

    mac: str
    node: Address


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The VXLAN device, its addresses, and its tables."""

    local: Address
    mac: str
    mtu: int
    uplink: str
    addresses: frozenset[Address] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwarding: frozenset[Forwarding] = frozenset()


@dataclass(frozen=True, slots=True)
class Masquerade:
    """From these Pods to anywhere but the cluster's Pods: as the node."""

    own: tuple[Cidr, ...]
    cluster: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the node network wants of a kernel."""

    routes: frozenset[Route] = frozenset()
    tunnel: Tunnel | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    masquerade: Masquerade | None = None


def peer(node: Node) -> Peer:
    """What the network has to know of a Node; addresses and ranges that are none are left out."""
    addresses = [
        _address(item.address) for item in node.status.addresses if item.type == "InternalIP"
    ]
    ranges = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    return Peer(
        node.metadata.name,
        tuple(it for it in addresses if it is not None),
        tuple(it for it in map(_cidr, ranges) if it is not None),
    )


def plan(
    own: Peer,
    peers: Iterable[Peer],
    overlay: Overlay,
    uplink: Uplink,
    cluster: tuple[Cidr, ...] = (),
) -> Desired:
    """What this node needs to reach the Pods of the others; without Pod CIDRs, nothing yet."""
    if not own.cidrs:
        return Desired()
    others = sorted((it for it in peers if it.name != own.name), key=lambda it: it.name)
    known = {*own.cidrs, *(cidr for other in others for cidr in other.cidrs)}
    masquerade = Masquerade(own.cidrs, cluster or tuple(sorted(known, key=str)))
    sysctls = _sysctls(own, uplink)
    if overlay == "routes":
        routes = frozenset(route for other in others for route in _direct(own, other, uplink))
        return Desired(routes, None, sysctls, masquerade)
    tunnel, routes = _tunnel(own, others, uplink)
    return Desired(routes, tunnel, sysctls, masquerade)


def pod_mtu(own: Peer, overlay: Overlay, uplink: Uplink) -> int:
    """The MTU for Pods: the uplink's, less what the tunnel puts around each packet."""
    if overlay == "routes":
        return min(uplink.mtu, _LONGEST)  # loopback has one byte more than a packet can
    underlay = _underlay(own)
    return uplink.mtu - _HEADERS[underlay.version if underlay else 4]


def tunnel_mac(node: Address) -> str:
    """A node's MAC in the tunnel: locally administered, unicast, the same wherever computed."""
    digest = hashlib.sha256(f"{DEVICE} {node}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def _direct(own: Peer, other: Peer, uplink: Uplink) -> Iterable[Route]:
    for cidr in other.cidrs:
        gateway = other.address(cidr.version)
        if gateway is not None and own.address(cidr.version) is not None:
            yield Route(cidr, gateway, uplink.ifname)


def _tunnel(
    own: Peer, others: list[Peer], uplink: Uplink
) -> tuple[Tunnel | None, frozenset[Route]]:
    local = _underlay(own)
    if local is None:
        return None, frozenset()
    routes, neighbours, forwarding = set(), set(), set()
    for other in others:
        node = other.address(local.version)
        if node is None:
            continue
        mac = tunnel_mac(node)
        forwarding.add(Forwarding(mac, node))
        for cidr in other.cidrs:
            gateway = _gateway(cidr, mac)
            routes.add(Route(cidr, gateway, DEVICE, onlink=cidr.version == 4))
            neighbours.add(Neighbour(gateway, mac))
    mac = tunnel_mac(local)
    tunnel = Tunnel(
        local,
        mac,
        uplink.mtu - _HEADERS[local.version],
        uplink.ifname,
        frozenset(_gateway(cidr, mac) for cidr in own.cidrs),
        frozenset(neighbours),
        frozenset(forwarding),
    )
    return tunnel, frozenset(routes)


def _underlay(own: Peer) -> Address | None:
    """The address that carries the tunnel: IPv4 when there is one, for its smaller header."""
    return own.address(4) or own.address(6)


def _gateway(cidr: Cidr, mac: str) -> Address:
    """Who a node is in the tunnel: its range's first address, or its MAC's link-local one."""
    if isinstance(cidr, IPv4Network):
        return cidr.network_address
    octets = [int(part, 16) for part in mac.split(":")]
    host = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])  # RFC 4291, appendix A
    return IPv6Address(b"\xfe\x80" + bytes(6) + host)


def _sysctls(own: Peer, uplink: Uplink) -> tuple[tuple[str, str], ...]:
    """Forwarding. IPv6's turns router advertisements off unless told that they still count (2)."""
    values = [("net/ipv4/ip_forward", "1"), ("net/bridge/bridge-nf-call-iptables", "1")]
    if any(cidr.version == 6 for cidr in own.cidrs):
        values += [
            (f"net/ipv6/conf/{uplink.ifname}/accept_ra", "1 -> 2"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/bridge/bridge-nf-call-ip6tables", "1"),
        ]
    return tuple(values)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _cidr(text: str) -> Cidr | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
