"""The proxy's values: Services, their endpoints, and this node.

All values are frozen, parsed and checked. ``proxy.objects.parse`` makes them from API objects; no
other module reads an API object.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import inet_ntoa
from typing import NamedTuple

from msgspec import Struct

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Key = tuple[str, str]  # (namespace, name) of a Service or an EndpointSlice


class Family(IntEnum):
    """An IP family. The value is the IP version."""

    V4 = 4
    V6 = 6

    __hash__ = int.__hash__  # a first load hashes it 100,000 times, and Enum's own is in Python


PACKED_SIZES: Mapping[Family, int] = {Family.V4: 4, Family.V6: 16}  # bytes of an address

LOOPBACK: Mapping[Family, Network] = {
    Family.V4: IPv4Network("127.0.0.0/8"),
    Family.V6: IPv6Network("::1/128"),
}


class Protocol(StrEnum):
    """The protocol of a Service port."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    __hash__ = str.__hash__  # as for ``Family``


# IANA protocol numbers, as packets and the kernel have them.
PROTOCOL_NUMBERS: Mapping[Protocol, int] = {
    Protocol.TCP: 6,
    Protocol.UDP: 17,
    Protocol.SCTP: 132,
}


class Balance(StrEnum):
    """The way in which a Service's connections choose their endpoint."""

    RANDOM = "random"
    LEAST_CONNECTIONS = "least-connections"


def text_of(address: Address) -> str:
    """Return ``str(address)``, for IPv4 in a third of the time: rules have tens of thousands."""
    return inet_ntoa(address.packed) if address.version == 4 else str(address)


class Target(NamedTuple):
    """The address and port of an endpoint.

    The address is packed, in network order: a first load compares, hashes and writes each endpoint
    several times, which ``ipaddress`` does in Python (an eighth of the load).
    """

    packed: bytes
    port: int

    @classmethod
    def of(cls, address: Address, port: int) -> "Target":
        """Make the target of an address that is not packed."""
        return cls(address.packed, port)

    @property
    def address(self) -> Address:
        """The address. It is made anew each time."""
        return ip_address(self.packed)

    @property
    def family(self) -> Family:
        """The address's family."""
        return Family.V4 if len(self.packed) == PACKED_SIZES[Family.V4] else Family.V6

    @property
    def host(self) -> str:
        """The address as text."""
        return inet_ntoa(self.packed) if self.family is Family.V4 else str(self.address)

    def __str__(self) -> str:
        v4 = self.family is Family.V4
        return f"{self.host}:{self.port}" if v4 else f"[{self.host}]:{self.port}"


class Weight(NamedTuple):
    """The weight of endpoints whose Pod name or address matches ``pattern``; ``*`` matches any
    text.
    """

    pattern: str
    value: int


class Frozen(Struct, frozen=True, gc=False):
    """The base of values that a first load makes by the thousand.

    One is made in a sixth of the time that a frozen dataclass takes, and in half of a NamedTuple's.
    They form no cycles, so the garbage collector need not know them.
    """


class Port(Frozen, frozen=True):
    """One port of a Service; ``node_port`` is 0 if it has none."""

    name: str
    protocol: Protocol
    number: int
    node_port: int = 0


class Service(Frozen, frozen=True):
    """A Service that has ClusterIPs.

    ``sources`` are the networks that may call its load balancer addresses; None allows all, an
    empty tuple none. ``affinity`` is the time in seconds for which a client keeps its endpoint;
    None means no affinity.
    """

    key: Key
    ports: tuple[Port, ...]
    cluster_ips: tuple[Address, ...]
    external_ips: tuple[Address, ...] = ()
    load_balancer_ips: tuple[Address, ...] = ()
    sources: tuple[Network, ...] | None = None
    affinity: int | None = None
    internal_local: bool = False
    external_local: bool = False
    health_check_port: int = 0
    weights: tuple[Weight, ...] = ()
    balance: Balance = Balance.RANDOM


NO_HINTS: frozenset[str] = frozenset()  # one value for the many endpoints without hints


class Endpoint(Frozen, frozen=True):
    """An endpoint of one Service port.

    ``local`` means on this node, ``elsewhere`` on another node; both are False if the node is
    unknown. ``pod`` is its Pod's name. ``zones`` and ``nodes`` are its topology hints (KEP-2433,
    KEP-4444).
    """

    target: Target
    local: bool = False
    elsewhere: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: frozenset[str] = NO_HINTS
    nodes: frozenset[str] = NO_HINTS
    pod: str = ""


PortKey = tuple[str, Protocol]  # a Service port's name and protocol, as slices name it


class Slice(Frozen, frozen=True):
    """Some of a Service's endpoints in one family, by the port that they serve."""

    service: Key
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]] = {}


class NodeView(Struct, frozen=True):
    """The proxy's view of the node that it serves, and of the cluster around it.

    ``service_ranges`` are the ranges of ClusterIPs; empty if nobody told them.
    """

    name: str
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    eligible: bool = True  # False while the node is being removed: load balancers should leave it
    service_ranges: tuple[Network, ...] = ()


def family_of(value: Address | Network) -> Family:
    """Return the family of an address or a network."""
    return Family(value.version)
