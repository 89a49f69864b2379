"""The desired state of each Service port: where its packets go. A value without effects.

``portals`` is the only function that interprets a Service. ``proxy.desired.desired.Desired`` maps
each Service to its portals. Every backend and the packet-fate evaluator start there.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, IntEnum, auto
from typing import NamedTuple

from proxy.desired.endpoints import lasting, neighbors, ready_here, usable
from proxy.model.settings import ProxySettings
from proxy.model.values import (
    PACKED_SIZES,
    Address,
    Balance,
    Endpoint,
    Family,
    Frozen,
    Key,
    Network,
    NodeView,
    Port,
    PortKey,
    Protocol,
    Service,
    Target,
    family_of,
)


class FrontendKind(IntEnum):
    """The kind of a frontend's address. If two Services claim a frontend, the lower kind wins."""

    CLUSTER_IP = 0
    LOAD_BALANCER = 1
    EXTERNAL_IP = 2
    NODE_PORT = 3


class Masquerade(Enum):
    """The connections that leave with this node's address, so that replies come back here."""

    NEVER = auto()
    ALWAYS = auto()
    NOT_PODS = auto()  # of clients that are not Pods: replies would bypass this node
    THIS_NODE = auto()  # of the node itself, which may call from the called address


class RefusalAction(Enum):
    """The action for a connection without an endpoint."""

    REJECT = auto()  # at once: no node has an endpoint
    DROP = auto()  # silently: another node has one, which the load balancer should find


class Frontend(NamedTuple):
    """The destination of packets to be forwarded.

    ``address`` None stands for this node's addresses.
    """

    family: Family
    address: Address | None
    port: int
    protocol: Protocol


class Forward(Frozen, frozen=True):
    """The rule for packets to one frontend.

    A target occurs in ``targets`` as often as its share of the connections.

    ``inside`` are the targets for this node's own Pods and processes, if those differ. Under
    externalTrafficPolicy Local they reach every endpoint, as if they had gone out to the load
    balancer and come back. A connection to its own source is always masqueraded (hairpin).
    """

    kind: FrontendKind
    targets: tuple[Target, ...]
    inside: tuple[Target, ...] | None
    masquerade: Masquerade
    refusal: RefusalAction
    sources: tuple[Network, ...] | None
    affinity: int | None
    balance: Balance = Balance.RANDOM


class Portal(Frozen, frozen=True):
    """One port of one Service in one family, as this node serves it.

    ``cluster`` and ``local`` are the pools of the two traffic policies, which
    ``proxy.desired.endpoints`` makes. ``anywhere`` is True if any node has an endpoint.
    ``ready_here`` and ``neighbors`` are packed addresses.
    """

    service: Key
    port_name: str
    family: Family
    protocol: Protocol
    number: int
    node_port: int
    cluster_ip: Address
    external_ips: tuple[Address, ...]
    load_balancer_ips: tuple[Address, ...]
    sources: tuple[Network, ...] | None
    affinity: int | None
    internal_local: bool
    external_local: bool
    cluster: tuple[Target, ...]
    local: tuple[Target, ...]
    anywhere: bool
    health_check_port: int = 0
    balance: Balance = Balance.RANDOM
    is_narrowed: bool = False  # topology hints keep some endpoints out of ``cluster``
    ready_here: tuple[bytes, ...] = ()  # for health checks; empty without a health check port
    neighbors: tuple[bytes, ...] = ()  # of endpoints on this node or on an unknown one
    lasting: tuple[
        Target, ...
    ] = ()  # they keep their flows; empty for TCP, whose flows end by themselves

    @property
    def name(self) -> str:
        """``namespace/service:port``, as upstream writes it in comments and hashes it."""
        namespace, service = self.service
        return (
            f"{namespace}/{service}:{self.port_name}"
            if self.port_name
            else f"{namespace}/{service}"
        )

    @property
    def is_external(self) -> bool:
        """True if anything but the ClusterIP leads here."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def internal(self) -> tuple[Target, ...]:
        """The targets of ClusterIP traffic."""
        return self.local if self.internal_local else self.cluster

    @property
    def external(self) -> tuple[Target, ...]:
        """The targets of outside traffic to the other frontends."""
        return self.local if self.external_local else self.cluster

    @property
    def used(self) -> tuple[Target, ...]:
        """Every target that some packet may be sent to."""
        needs_cluster = not self.internal_local or self.is_external
        needs_local = self.internal_local or (self.external_local and self.is_external)
        pools = (self.cluster if needs_cluster else (), self.local if needs_local else ())
        return tuple(dict.fromkeys(target for pool in pools for target in pool))


def portals(
    service: Service, endpoints: Mapping[PortKey, Iterable[Endpoint]], node: NodeView
) -> tuple[Portal, ...]:
    """Return the portals of ``service`` on ``node``: one for each port and family."""
    return tuple(
        [
            _portal(service, port, cluster_ip, endpoints.get((port.name, port.protocol), ()), node)
            for cluster_ip in service.cluster_ips
            for port in service.ports
        ]
    )


def _portal(
    service: Service, port: Port, cluster_ip: Address, endpoints: Iterable[Endpoint], node: NodeView
) -> Portal:
    family = family_of(cluster_ip)
    size = PACKED_SIZES[family]
    ours = [endpoint for endpoint in endpoints if len(endpoint.target.packed) == size]
    pools = usable(ours, node, service.weights)
    return Portal(
        service=service.key,
        port_name=port.name,
        family=family,
        protocol=port.protocol,
        number=port.number,
        node_port=port.node_port,
        cluster_ip=cluster_ip,
        external_ips=_of(family, service.external_ips),
        load_balancer_ips=_of(family, service.load_balancer_ips),
        sources=_sources_of(family, service.sources),
        affinity=service.affinity,
        internal_local=service.internal_local,
        external_local=service.external_local,
        cluster=pools.cluster,
        local=pools.local,
        anywhere=pools.anywhere,
        health_check_port=service.health_check_port,
        balance=service.balance,
        is_narrowed=pools.is_narrowed,
        ready_here=ready_here(ours) if service.health_check_port else (),
        neighbors=neighbors(ours),
        lasting=() if port.protocol is Protocol.TCP else lasting(ours, service.weights),
    )


def _of(family: Family, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    return addresses and tuple([ip for ip in addresses if ip.version == family])


def _sources_of(family: Family, sources: tuple[Network, ...] | None) -> tuple[Network, ...] | None:
    """Return the ranges of one family.

    As in upstream, a list with ranges of the other family only restricts nothing in this family. A
    list without any valid range admits none.
    """
    if not sources:
        return sources
    return tuple(network for network in sources if network.version == family) or None


def forwards(portal: Portal, settings: ProxySettings) -> Iterator[tuple[Frontend, Forward]]:
    """Yield every frontend of a portal, and how its packets are forwarded."""
    yield _frontend(portal, portal.cluster_ip, portal.number), _internal(portal, settings)
    for kind, addresses in (
        (FrontendKind.LOAD_BALANCER, portal.load_balancer_ips),
        (FrontendKind.EXTERNAL_IP, portal.external_ips),
    ):
        for address in addresses:
            yield _frontend(portal, address, portal.number), _external(portal, kind)
    if portal.node_port:
        yield _frontend(portal, None, portal.node_port), _external(portal, FrontendKind.NODE_PORT)


def _frontend(portal: Portal, address: Address | None, port: int) -> Frontend:
    return Frontend(portal.family, address, port, portal.protocol)


def _internal(portal: Portal, settings: ProxySettings) -> Forward:
    masquerade = Masquerade.NOT_PODS if portal.family in settings.pods else Masquerade.NEVER
    return Forward(
        kind=FrontendKind.CLUSTER_IP,
        targets=portal.internal,
        inside=None,
        masquerade=Masquerade.ALWAYS if settings.masquerade_all else masquerade,
        refusal=_refusal(portal),
        sources=None,
        affinity=portal.affinity,
        balance=portal.balance,
    )


def _external(portal: Portal, kind: FrontendKind) -> Forward:
    local = portal.external_local
    return Forward(
        kind=kind,
        targets=portal.external,
        inside=portal.cluster if local else None,
        masquerade=Masquerade.THIS_NODE if local else Masquerade.ALWAYS,
        refusal=_refusal(portal),
        sources=portal.sources if kind is FrontendKind.LOAD_BALANCER else None,
        affinity=portal.affinity,
        balance=portal.balance,
    )


def _refusal(portal: Portal) -> RefusalAction:
    return RefusalAction.DROP if portal.anywhere else RefusalAction.REJECT
