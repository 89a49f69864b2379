"""Evaluates the desired state for one packet: a pure function.

This is the specification. Every backend is tested against it with the same table of packets.
"""

from collections.abc import Iterable
from enum import Enum, auto

from msgspec import Struct

from proxy.desired.claims import ClaimResolver
from proxy.desired.desired import Desired
from proxy.desired.portals import Forward, Frontend, FrontendKind, Masquerade, RefusalAction
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Network, NodeView, Protocol, Target, family_of


class Verdict(Enum):
    """The proxy's decision about a packet."""

    FORWARD = auto()
    REJECT = auto()
    DROP = auto()
    UNTOUCHED = auto()  # it is addressed to no Service


class Packet(Struct, frozen=True):
    """The first packet of a connection; ``interface`` is empty for the node's own."""

    source: Address
    destination: Address
    port: int
    protocol: Protocol = Protocol.TCP
    interface: str = ""


class Fate(Struct, frozen=True):
    """The targets that a packet may reach, and those that see this node's address as its source."""

    verdict: Verdict
    targets: frozenset[Target] = frozenset()
    masqueraded: frozenset[Target] = frozenset()


class Evaluator:
    """Evaluates packets for one node: ``evaluator.fate(packet)``."""

    def __init__(self, desired: Desired, node: NodeView, settings: ProxySettings) -> None:
        self._node = node
        self._settings = settings
        claims = ClaimResolver(settings)
        claims.update(desired)
        winners = dict(claims.winners())
        self._table = {frontend: claim.forward for frontend, claim in winners.items()}
        self._cluster_ips = {
            frontend.address
            for frontend, claim in winners.items()
            if claim.kind is FrontendKind.CLUSTER_IP
        }

    def fate(self, packet: Packet) -> Fate:
        """Return the fate of ``packet``, the first packet of a connection."""
        forward = self._find(packet)
        if forward is None:
            return Fate(self._unserved(packet.destination))
        if not self._admits(forward, packet):
            return Fate(Verdict.DROP)
        from_pod, from_node = self._origin(packet)
        inside = forward.inside is not None and (from_pod or from_node)
        targets = frozenset((forward.inside or ()) if inside else forward.targets)
        if not targets:
            refused = forward.refusal is RefusalAction.REJECT
            return Fate(Verdict.REJECT if refused else Verdict.DROP)
        if masquerades(forward.masquerade, from_pod=from_pod, from_node=from_node):
            return Fate(Verdict.FORWARD, targets, targets)
        hairpin = frozenset(target for target in targets if target.address == packet.source)
        return Fate(Verdict.FORWARD, targets, hairpin)

    def _unserved(self, address: Address) -> Verdict:
        """Refuse the other ports of a ClusterIP; drop packets to ClusterIPs of no Service."""
        if address in self._cluster_ips:
            return Verdict.REJECT
        lost = any(address in network for network in self._node.service_ranges)
        return Verdict.DROP if lost else Verdict.UNTOUCHED

    def _find(self, packet: Packet) -> Forward | None:
        family = family_of(packet.destination)
        key = Frontend(family, packet.destination, packet.port, packet.protocol)
        forward = self._table.get(key)
        if forward is not None or not self._serves_node_ports(packet.destination):
            return forward
        return self._table.get(Frontend(family, None, packet.port, packet.protocol))

    def _serves_node_ports(self, address: Address) -> bool:
        mine = address.is_loopback or address in self._node.addresses
        return mine and self._settings.is_node_port_address(address)

    def _origin(self, packet: Packet) -> tuple[bool, bool]:
        pods = self._settings.pods.get(family_of(packet.source))
        from_node = packet.source.is_loopback or packet.source in self._node.addresses
        return bool(pods and pods.covers(packet.source, packet.interface)), from_node

    def _admits(self, forward: Forward, packet: Packet) -> bool:
        """Apply source ranges.

        The node calls a balancer address that is its own from that same address; it is admitted if
        the ranges hold one of its addresses (upstream's allowFromNode).
        """
        sources = forward.sources
        if sources is None or forward.refusal is RefusalAction.REJECT:
            return True
        if any(packet.source in network for network in sources):
            return True
        looped = packet.source == packet.destination
        return looped and admits_node(sources, self._node.addresses)


def admits_node(sources: Iterable[Network], addresses: Iterable[Address]) -> bool:
    """Return True if source ranges hold one of this node's addresses."""
    return any(address in network for network in sources for address in addresses)


def masquerades(rule: Masquerade, *, from_pod: bool, from_node: bool) -> bool:
    """Return True if a connection of that origin leaves with the node's address."""
    match rule:
        case Masquerade.ALWAYS:
            return True
        case Masquerade.NOT_PODS:
            return not from_pod
        case Masquerade.THIS_NODE:
            return from_node and not from_pod
        case Masquerade.NEVER:
            return False
