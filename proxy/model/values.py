"""The proxy's own values: what a Service, its endpoints and this node mean to a packet.

Everything here is frozen, already parsed and already checked: ``proxy.objects.parse`` makes these
values from API objects, and nothing behind it looks at an API object again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Key = tuple[str, str]  # (namespace, name) of a Service or an EndpointSlice


class Family(IntEnum):
    """An IP family; the value is the version."""

    V4 = 4
    V6 = 6


LOOPBACK: Mapping[Family, Network] = {
    Family.V4: IPv4Network("127.0.0.0/8"),
    Family.V6: IPv6Network("::1/128"),
}


class Protocol(StrEnum):
    """What a Service port can carry."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


# IANA protocol numbers, as packets and the kernel have them.
PROTOCOL_NUMBERS: Mapping[Protocol, int] = {
    Protocol.TCP: 6,
    Protocol.UDP: 17,
    Protocol.SCTP: 132,
}


class Balance(StrEnum):
    """How a Service's connections find their endpoint."""

    RANDOM = "random"
    LEAST_CONNECTIONS = "least-connections"


class Target(NamedTuple):
    """Where a connection can be sent."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else self.address
        return f"{host}:{self.port}"


class Weight(NamedTuple):
    """What endpoints weigh whose Pod's name, or address, fits ``pattern``; ``*`` is any text."""

    pattern: str
    value: int


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a Service; ``node_port`` is 0 when there is none."""

    name: str
    protocol: Protocol
    number: int
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that has ClusterIPs.

    ``sources`` are the networks from which its load balancer addresses take traffic; None means
    everyone, and an empty tuple nobody. ``affinity`` is for how many seconds a client sticks to an
    endpoint; None means not at all.
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


NOBODY: frozenset[str] = frozenset()  # the hints of most endpoints; one for all


class Endpoint(NamedTuple):
    """A backend of one Service port; ``local`` means on this node, ``elsewhere`` on another one,
    and ``pod`` is its Pod's name.

    ``zones`` and ``nodes`` are the hints of whom it is meant for (KEP-2433, KEP-4444).
    """

    target: Target
    local: bool = False
    elsewhere: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: frozenset[str] = NOBODY
    nodes: frozenset[str] = NOBODY
    pod: str = ""


PortKey = tuple[str, Protocol]  # a Service port's name and protocol, as slices name it


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a Service's endpoints in one family, by the port they serve."""

    service: Key
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the proxy needs to know of the node it serves."""

    name: str
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    eligible: bool = True  # False while it is being removed: load balancers should leave it


def family_of(value: Address | Network) -> Family:
    """The family of an address or a network."""
    return Family(value.version)
