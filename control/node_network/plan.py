"""Plans a node's routes, tunnel entries, sysctls and masquerading. Pure.

    routes   10.244.2.0/24 via NODE2           the nodes share a link: no encapsulation
    vxlan    10.244.2.0/24 via 10.244.2.0 dev podwire-vxlan onlink
             neighbor 10.244.2.0 -> MAC2       no ARP crosses the tunnel
             FDB MAC2 -> NODE2                 (as flannel's, RFC 7348 without learning)

A node's tunnel MAC is computed from its address: nodes need only each other's Node objects.
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
PROTOCOL = 87  # `ip route show proto 87`: of the numbers that rtnetlink leaves to administrators
# IANA's port. Flannel and Cilium use 8472, Calico 4789 with VNI 4096, Docker 4789 from VNI 4096.
PORT, VNI = 4789, 77
_LONGEST = 65535
_HEADERS = {4: 50, 6: 70}  # outer IP, UDP, VXLAN, inner Ethernet


@dataclass(frozen=True, slots=True)
class Peer:
    """A node's part in the network."""

    name: str
    addresses: tuple[Address, ...]
    cidrs: tuple[Cidr, ...]

    def address(self, version: int) -> Address | None:
        """Return the node's address of an IP version, if it has one."""
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True, slots=True)
class Uplink:
    """The interface with the node's address."""

    ifname: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route to another node's Pods; ``onlink`` skips the check that the gateway is on-link."""

    cidr: Cidr
    via: Address
    ifname: str
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Neighbor:
    """The MAC of a gateway inside the tunnel."""

    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The node to which the tunnel carries frames for a MAC."""

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
    neighbors: frozenset[Neighbor] = frozenset()
    forwarding: frozenset[Forwarding] = frozenset()


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Packets of our own Pods leave the cluster with the node's address."""

    own: tuple[Cidr, ...]
    cluster: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Everything that the node network wants of the kernel."""

    routes: frozenset[Route] = frozenset()
    tunnel: Tunnel | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    masquerade: Masquerade | None = None


def peer(node: Node) -> Peer:
    """Read a node's part in the network; invalid addresses and ranges are left out."""
    addresses = [
        _address(item.address) for item in node.status.addresses if item.type == "InternalIP"
    ]
    ranges = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    return Peer(
        node.metadata.name,
        tuple(address for address in addresses if address is not None),
        tuple(cidr for cidr in map(_cidr, ranges) if cidr is not None),
    )


def differ(old: Node | None, new: Node | None) -> bool:
    """True if a Node's part in the network is another one; None: there is no such Node.

    Most changes of a Node are its status or its heartbeat. Without Pod CIDRs it has no part.
    """
    return _part(old) != _part(new)


def _part(node: Node | None) -> Peer | None:
    found = peer(node) if node is not None else None
    return found if found and found.cidrs else None


def plan(
    own: Peer,
    peers: Iterable[Peer],
    overlay: Overlay,
    uplink: Uplink,
    cluster: tuple[Cidr, ...] = (),
) -> NetworkPlan:
    """Return what this node needs to reach the other nodes' Pods.

    A node without Pod CIDRs needs nothing yet.
    """
    if not own.cidrs:
        return NetworkPlan()
    others = sorted((peer for peer in peers if peer.name != own.name), key=lambda peer: peer.name)
    known = {*own.cidrs, *(cidr for other in others for cidr in other.cidrs)}
    masquerade = Masquerade(own.cidrs, cluster or tuple(sorted(known, key=str)))
    sysctls = _sysctls(own, uplink)
    if overlay == "routes":
        routes = frozenset(route for other in others for route in _direct(own, other, uplink))
        return NetworkPlan(routes, None, sysctls, masquerade)
    tunnel, routes = _tunnel(own, others, uplink)
    return NetworkPlan(routes, tunnel, sysctls, masquerade)


def pod_mtu(own: Peer, overlay: Overlay, uplink: Uplink) -> int:
    """Return the MTU for Pods: the uplink's, less the tunnel's headers."""
    if overlay == "routes":
        return min(uplink.mtu, _LONGEST)  # loopback's MTU is larger than an IP packet
    underlay = _underlay(own)
    return uplink.mtu - _HEADERS[underlay.version if underlay else 4]


def tunnel_mac(node: Address) -> str:
    """Compute a node's MAC in the tunnel from its address: locally administered, unicast."""
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
    routes, neighbors, forwarding = set(), set(), set()
    for other in others:
        node = other.address(local.version)
        if node is None:
            continue
        mac = tunnel_mac(node)
        forwarding.add(Forwarding(mac, node))
        for cidr in other.cidrs:
            gateway = _gateway(cidr, mac)
            routes.add(Route(cidr, gateway, DEVICE, onlink=cidr.version == 4))
            neighbors.add(Neighbor(gateway, mac))
    mac = tunnel_mac(local)
    tunnel = Tunnel(
        local,
        mac,
        uplink.mtu - _HEADERS[local.version],
        uplink.ifname,
        frozenset(_gateway(cidr, mac) for cidr in own.cidrs),
        frozenset(neighbors),
        frozenset(forwarding),
    )
    return tunnel, frozenset(routes)


def _underlay(own: Peer) -> Address | None:
    """Return the address that carries the tunnel: IPv4 if there is one, for its smaller header."""
    return own.address(4) or own.address(6)


def _gateway(cidr: Cidr, mac: str) -> Address:
    """Return a node's address in the tunnel: its range's first, or its MAC's link-local one."""
    if isinstance(cidr, IPv4Network):
        return cidr.network_address
    octets = [int(part, 16) for part in mac.split(":")]
    host = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])  # RFC 4291, appendix A
    return IPv6Address(b"\xfe\x80" + bytes(6) + host)


def _sysctls(own: Peer, uplink: Uplink) -> tuple[tuple[str, str], ...]:
    """Return the sysctls for forwarding.

    With IPv6 forwarding the kernel ignores router advertisements, unless accept_ra is 2.
    """
    values = [("net/ipv4/ip_forward", "1")]
    if any(cidr.version == 6 for cidr in own.cidrs):
        values += [
            (f"net/ipv6/conf/{uplink.ifname}/accept_ra", "1 -> 2"),
            ("net/ipv6/conf/all/forwarding", "1"),
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
