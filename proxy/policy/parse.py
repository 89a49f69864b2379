"""API objects become this room's values here, and nowhere else.

A part that cannot be used is left out, with a complaint. A peer or a port that is left out admits
nothing; so a malformed policy admits less than its author meant, never more.
"""

import re
from collections.abc import Iterable, Iterator

from proxy.model.values import Address, Protocol
from proxy.objects.parse import Complaints, parse_address, parse_network
from proxy.policy import wire as api
from proxy.policy.values import (
    LAST_PORT,
    AddressRange,
    BlockPeer,
    Condition,
    Direction,
    Namespace,
    Operator,
    Peer,
    Pod,
    PodPeer,
    Policy,
    PortName,
    PortRange,
    Rule,
    Selector,
)

_ENDED = frozenset({"Succeeded", "Failed"})
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")  # IANA_SVC_NAME
_SIDECAR = "Always"
_MIRROR = "kubernetes.io/config.mirror"  # the annotation of a mirror Pod: its static Pod's UID
_PROTOCOLS = {str(protocol): protocol for protocol in Protocol}


def parse_pod(wire: api.Pod, node_name: str) -> Pod | None:
    """Parse a Pod; None if it has no address of its own now.

    Pods in the host's network have the node's addresses, by which policies see them: as upstream
    says, no selector selects them.
    """
    if wire.spec.host_network or wire.status.phase in _ENDED:
        return None
    addresses = tuple(_addresses(wire.status))
    if not addresses:
        return None
    meta = wire.metadata
    rank = (meta.deletion_timestamp is None, meta.creation_timestamp or "", meta.uid)
    is_local = wire.spec.node_name == node_name
    ports = dict(_named_ports(wire.spec))
    sandbox = meta.annotations.get(_MIRROR, wire.uid)
    return Pod(wire.key, wire.uid, meta.labels, addresses, is_local, ports, rank, sandbox)


def parse_namespace(wire: api.Namespace) -> Namespace:
    """Parse a namespace."""
    return Namespace(wire.metadata.name, wire.metadata.labels)


def parse_policy(wire: api.NetworkPolicy, complaints: Complaints) -> Policy | None:
    """Parse a policy; None if it cannot be known whom it selects."""
    spec = wire.spec
    try:
        selector = parse_selector(spec.pod_selector)
    except ValueError as err:
        complaints.add("the policy", f"spec.podSelector: {err}")
        return None
    rules: dict[Direction, tuple[Rule, ...]] = {}
    for direction in _directions(spec):
        side = direction.lower()
        given = (
            [(rule.from_, rule.ports) for rule in spec.ingress]
            if direction is Direction.INGRESS
            else [(rule.to, rule.ports) for rule in spec.egress]
        )
        read = _RuleReader(wire.key[0], complaints)
        rules[direction] = tuple(
            read.rule(f"spec.{side}[{number}]", peers, ports)
            for number, (peers, ports) in enumerate(given)
        )
    return Policy(wire.key, selector, rules)


def _directions(spec: api.NetworkPolicySpec) -> Iterator[Direction]:
    """Yield the directions that a policy isolates; without policyTypes as the API defines."""
    types = spec.policy_types or ["Ingress", *(["Egress"] if spec.egress else [])]
    return (direction for direction in Direction if direction in types)


class _RuleReader:
    """Reads the rules of one policy."""

    def __init__(self, namespace: str, complaints: Complaints) -> None:
        self._namespace = namespace
        self._complaints = complaints

    def rule(
        self, where: str, peers: Iterable[api.PolicyPeer], ports: Iterable[api.PolicyPort]
    ) -> Rule:
        """Read a rule. An empty list of peers, or of ports, stands for all."""
        peers, ports = list(peers), list(ports)
        found: set[Peer] = set()
        for number, peer in enumerate(peers):
            try:
                found.add(self._peer(peer))
            except ValueError as err:
                self._complaints.add(f"{where}, peer {number}", err)
        doors: set[PortRange | PortName] = set()
        for number, port in enumerate(ports):
            try:
                doors.add(_port(port))
            except ValueError as err:
                self._complaints.add(f"{where}.ports[{number}]", err)
        return Rule(frozenset(found) if peers else None, frozenset(doors) if ports else None)

    def _peer(self, peer: api.PolicyPeer) -> Peer:
        selectors = (peer.pod_selector, peer.namespace_selector)
        if peer.ip_block is not None:
            if selectors != (None, None):
                raise ValueError("an ipBlock cannot be combined with selectors")
            return _block(peer.ip_block)
        if selectors == (None, None):
            raise ValueError("it has no podSelector, no namespaceSelector and no ipBlock")
        pods = parse_selector(peer.pod_selector or api.LabelSelector())
        if peer.namespace_selector is None:
            return PodPeer(self._namespace, None, pods)
        return PodPeer(None, parse_selector(peer.namespace_selector), pods)


def parse_selector(wire: api.LabelSelector) -> Selector:
    """Read a selector. Raises ValueError."""
    found = {Condition(k, Operator.IN, frozenset({v})) for k, v in wire.match_labels.items()}
    for one in wire.match_expressions:
        try:
            operator = Operator(one.operator)
        except ValueError:
            raise ValueError(f"{one.operator[:40]!r} is not an operator of selectors") from None
        if bool(one.values) != (operator in (Operator.IN, Operator.NOT_IN)):
            raise ValueError(f"operator {operator} of label {one.key[:80]!r} has the wrong values")
        found.add(Condition(one.key, operator, frozenset(one.values)))
    return Selector(frozenset(found))


def _block(wire: api.IPBlock) -> BlockPeer:
    """Read an ipBlock. Raises ValueError."""
    whole = parse_range(wire.cidr)
    holes = sorted({parse_range(text) for text in wire.except_})
    ranges, at = [], whole.first
    for hole in holes:
        inside = whole.first <= hole.first and hole.last <= whole.last
        if hole.version != whole.version or not inside:
            raise ValueError(f"an exception is not within {wire.cidr[:80]}")
        if hole.first > at:
            ranges.append(AddressRange(whole.version, at, hole.first - 1))
        at = max(at, hole.last + 1)
    if at <= whole.last:
        ranges.append(AddressRange(whole.version, at, whole.last))
    return BlockPeer(tuple(ranges))


def parse_range(text: str) -> AddressRange:
    """Read a range in CIDR notation. Raises ValueError."""
    network = parse_network(text)
    first = int(network.network_address)
    return AddressRange(network.version, first, first + network.num_addresses - 1)


def _port(wire: api.PolicyPort) -> PortRange | PortName:
    """Read a port. Raises ValueError."""
    protocol = _protocol(wire.protocol)
    port, last = wire.port, wire.end_port
    if last is not None and not isinstance(port, int):
        raise ValueError("an endPort needs a port with a number")
    if port is None:
        return PortRange(protocol)
    if isinstance(port, str):
        if not _PORT_NAME.fullmatch(port):
            raise ValueError(f"{port[:40]!r} is not the name of a port")
        return PortName(protocol, port)
    last = port if last is None else last
    if not 1 <= port <= last <= LAST_PORT:
        raise ValueError(f"{port} to {last} are not ports")
    return PortRange(protocol, port, last)


def _addresses(status: api.PodStatus) -> Iterator[Address]:
    for text in [one.ip for one in status.pod_ips] or [status.pod_ip]:
        try:
            yield parse_address(text or "")
        except ValueError:
            continue  # a Pod whose address nobody can read is as one without it


def _named_ports(spec: api.PodSpec) -> Iterator[tuple[tuple[Protocol, str], int]]:
    """Yield the named ports. If two have one name, the first counts, as in upstream's lookups."""
    sidecars = [one for one in spec.init_containers if one.restart_policy == _SIDECAR]
    for container in reversed([*spec.containers, *sidecars]):
        for port in reversed(container.ports):
            protocol = _PROTOCOLS.get(port.protocol or "TCP")
            if port.name and protocol and 1 <= port.container_port <= LAST_PORT:
                yield (protocol, port.name), port.container_port


def _protocol(text: str | None) -> Protocol:
    """Read a protocol; without one it is TCP. Raises ValueError."""
    if found := _PROTOCOLS.get(text or "TCP"):
        return found
    raise ValueError(f"{(text or '')[:40]!r} is not TCP, UDP or SCTP")
