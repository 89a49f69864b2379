"""Parses API objects: here they become the proxy's values, and nowhere else.

Unusable parts are left out, with a complaint. So a malformed object stops neither its own good
parts nor other objects. Addresses are parsed, never copied as text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, inet_pton
from sys import intern
from typing import TypeVar

from msgspec import Struct

from proxy.desired.weights import ANNOTATION as WEIGHTS
from proxy.desired.weights import parse_rule, split_rules
from proxy.model.values import (
    NO_HINTS,
    Address,
    Balance,
    Endpoint,
    Network,
    NodeView,
    Port,
    PortKey,
    Protocol,
    Service,
    Slice,
    Target,
    Weight,
)
from proxy.objects.wire import (
    EndpointSlice,
    ForZone,
    Node,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from proxy.objects.wire import Service as ApiService

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
SERVICE_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"  # annotation of EndpointSlices
BALANCE = "proxy.podwire.dev/balance"  # annotation: how connections choose their endpoint
_ADDRESSES = ("InternalIP", "ExternalIP")  # of a Node; the first of a family is its primary one
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"
DEFAULT_AFFINITY = 10800  # seconds; core/v1 ClientIPConfig
_PADDED = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){3}")  # an IPv4 address, maybe with leading zeros
_AFFINITY_LIMIT = 86400  # seconds; validation allows no more
_FAULTS = ("unspecified", "loopback", "link_local", "multicast")  # of an endpoint's address
# The first bytes of addresses that may have one of these faults. Asking `ipaddress` about every
# address would take longer than parsing it.
_SUSPECT = frozenset((0, 127, 169, *range(224, 256)))

Wire = TypeVar("Wire")
Value = TypeVar("Value")


class Complaints(Struct):
    """Log lines about the parts of one object that were left out."""

    about: str
    lines: list[str] = []

    def add(self, where: str, why: object) -> None:
        """Note that the part ``where`` was left out, and why."""
        line = f"{self.about}: {where} is ignored: {why}"
        self.lines.append("".join(c if c.isprintable() else repr(c)[1:-1] for c in line))


def parse_service(wire: ApiService, complaints: Complaints, proxy_name: str = "") -> Service | None:
    """Parse a Service; return None if this proxy does not serve it.

    It serves no headless Service, no ExternalName Service, and none of another proxy (KEP-2447: the
    label service.kubernetes.io/service-proxy-name).
    """
    spec = wire.spec
    if wire.metadata.labels.get(PROXY_NAME_LABEL, "") != proxy_name or spec.type == "ExternalName":
        return None
    cluster_ips = [
        ip for ip in spec.cluster_ips or [spec.cluster_ip or ""] if ip not in ("", "None")
    ]
    addresses = _addresses(cluster_ips, "clusterIPs", complaints)
    if not addresses:
        return None
    ports = tuple(_kept(spec.ports, "ports", complaints, _port))
    balancers = _load_balancer_ips(wire)
    return Service(
        key=wire.key,
        ports=ports,
        cluster_ips=addresses,
        external_ips=_addresses(spec.external_ips, "externalIPs", complaints),
        load_balancer_ips=_addresses(balancers, "status.loadBalancer.ingress", complaints),
        sources=_sources(spec.load_balancer_source_ranges, complaints),
        affinity=_affinity(wire),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=spec.external_traffic_policy == "Local" and _is_external(wire),
        health_check_port=_health_check_port(wire, complaints),
        weights=_weights(wire, complaints),
        balance=_balance(wire, complaints),
    )


def parse_slice(wire: EndpointSlice, node_name: str, complaints: Complaints) -> Slice | None:
    """Parse an EndpointSlice; return None if it belongs to no Service."""
    labels = wire.metadata.labels
    service = labels.get(SERVICE_LABEL, "")
    version = {"IPv4": 4, "IPv6": 6}.get(wire.address_type)
    if not service or HEADLESS_LABEL in labels or version is None:
        return None
    read = partial(_endpoint, version=version, node_name=node_name)
    found = _kept(wire.endpoints, "endpoints", complaints, read)
    ports = dict(_kept(wire.ports, "ports", complaints, _slice_port))
    return Slice(
        (intern(wire.metadata.namespace or ""), intern(service)),
        {
            key: tuple([Endpoint(Target(address, number), *state) for address, state in found])
            for key, number in ports.items()
        },
    )


def parse_node(wire: Node, complaints: Complaints) -> NodeView:
    """Parse this node: its addresses, its zone, and if load balancers may still send to it."""
    found = wire.status.addresses
    status = [item.address for sort in _ADDRESSES for item in found if item.type == sort]
    cidrs = wire.spec.pod_cidrs or [wire.spec.pod_cidr or ""]
    leaving = any(taint.key == AUTOSCALER_TAINT for taint in wire.spec.taints)
    return NodeView(
        name=wire.metadata.name,
        zone=wire.metadata.labels.get(ZONE_LABEL, ""),
        addresses=_addresses(status, "status.addresses", complaints),
        pod_cidrs=tuple(_kept([c for c in cidrs if c], "spec.podCIDRs", complaints, parse_network)),
        eligible=not leaving and wire.metadata.deletion_timestamp is None,
    )


def parse_address(text: str) -> Address:
    """Parse an address without a zone. Raises ValueError.

    Leading zeros are ignored, as in all API objects (upstream's ParseIPSloppy). An IPv4-mapped IPv6
    address is refused: Go, and so every API client, treats it as IPv4, but Linux does not.
    """
    if packed := _packed(text):
        return IPv4Address(packed)
    address = ip_address(_without_zeros(text))
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise ValueError(f"{text!r} is not a plain IP address")
    return address


def _packed(text: str) -> bytes:
    """Return the bytes of an IPv4 address in plain form, none of anything else.

    Nearly all addresses are such, and this is five times faster than ``ip_address``.
    """
    try:
        return inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return b""


def parse_network(text: str) -> Network:
    """Parse a network in CIDR notation; host bits are allowed. Raises ValueError."""
    host, slash, bits = text.strip().partition("/")
    network = ip_network(f"{_without_zeros(host)}{slash}{bits}", strict=False)
    if network.version == 6:
        parse_address(str(network.network_address))
    return network


def _without_zeros(text: str) -> str:
    """Remove leading zeros: ``010.096.0.1`` is 10.96.0.1, as in Go's old parser, not octal."""
    if not _PADDED.fullmatch(text):
        return text
    return ".".join(str(int(part)) for part in text.split("."))


def _kept(
    items: Sequence[Wire], where: str, complaints: Complaints, parse: Callable[[Wire], Value]
) -> list[Value]:
    try:
        return [parse(item) for item in items]
    except ValueError:  # some are unusable
        return [*_usable(items, where, complaints, parse)]


def _usable(
    items: Sequence[Wire], where: str, complaints: Complaints, parse: Callable[[Wire], Value]
) -> Iterator[Value]:
    for index, item in enumerate(items):
        try:
            yield parse(item)
        except ValueError as err:
            complaints.add(f"{where}[{index}]", err)


def _addresses(texts: Sequence[str], where: str, complaints: Complaints) -> tuple[Address, ...]:
    if not texts:
        return ()
    found = _kept(texts, where, complaints, parse_address)
    return tuple(dict.fromkeys(found) if len(found) > 1 else found)


def _number(value: int | None, name: str, *, least: int = 1) -> int:
    if value is None or not least <= value <= 65535:
        raise ValueError(f"{name} {value} is not in {least}-65535")
    return value


def _port(wire: ServicePort) -> Port:
    name, protocol = _port_key(wire.name, wire.protocol)
    return Port(
        name=name,
        protocol=protocol,
        number=_number(wire.port, "port"),
        node_port=_number(wire.node_port or 0, "nodePort", least=0),
    )


def _slice_port(wire: SlicePort) -> tuple[PortKey, int]:
    return _port_key(wire.name or "", wire.protocol or "TCP"), _number(wire.port, "port")


@lru_cache(maxsize=1024)
def _port_key(name: str, protocol: str) -> PortKey:
    """Return one value for all ports with the same name and protocol. Raises ValueError."""
    return name, Protocol(protocol)


_State = tuple[bool, bool, bool, bool, bool, frozenset[str], frozenset[str], str]


def _endpoint(wire: SliceEndpoint, version: int, node_name: str) -> tuple[bytes, _State]:
    """Parse an endpoint: its packed address, and what follows the target in ``Endpoint``.

    Only its first address counts (discovery/v1). Raises ValueError.
    """
    if not wire.addresses:
        raise ValueError("it has no address")
    address = _endpoint_address(wire.addresses[0], version)
    conditions, hints, node, pod = wire.conditions, wire.hints, wire.node_name, wire.target_ref
    return address, (
        bool(node_name) and node == node_name,
        bool(node_name and node) and node != node_name,
        conditions.ready is not False,
        conditions.serving is not False,
        conditions.terminating is True,
        _names(hints.for_zones) if hints else NO_HINTS,
        _names(hints.for_nodes) if hints else NO_HINTS,
        (pod.name or "") if pod is not None and pod.kind == "Pod" else "",
    )


def _names(wanted: list[ForZone]) -> frozenset[str]:
    """Return one value for all endpoints with the same hints."""
    return _shared(frozenset(hint.name for hint in wanted)) if wanted else NO_HINTS


@lru_cache(maxsize=1024)
def _shared(value: frozenset[str]) -> frozenset[str]:
    return value


def _endpoint_address(text: str, version: int) -> bytes:
    """Parse an address that an endpoint may have, and pack it. Raises ValueError.

    Validation refuses all others (ValidateEndpointIP): DNAT to a loopback or link-local address
    would reach servers that listen for the node alone.
    """
    if version == 4 and (packed := _packed(text)) and packed[0] not in _SUSPECT:
        return packed  # nearly all
    address = parse_address(text)
    if address.version != version:
        raise ValueError(f"{address} is not of the slice's family, IPv{version}")
    if address.packed[0] in _SUSPECT:
        for fault in _FAULTS:
            if getattr(address, f"is_{fault}"):
                raise ValueError(
                    f"{address} is {fault.replace('_', '-')} and cannot be an endpoint"
                )
    return address.packed


def _sources(texts: list[str], complaints: Complaints) -> tuple[Network, ...] | None:
    """Parse the allowed sources. If no entry is valid, none is allowed: fail closed."""
    if not texts:
        return None
    return tuple(_kept(texts, "loadBalancerSourceRanges", complaints, parse_network))


def _load_balancer_ips(wire: ApiService) -> list[str]:
    """Return ingress addresses whose packets arrive as they are: ipMode VIP or unset (KEP-1860)."""
    balancer = wire.status.load_balancer
    if wire.spec.type != "LoadBalancer" or balancer is None:
        return []
    return [item.ip for item in balancer.ingress if item.ip and item.ip_mode in (None, "VIP")]


def _affinity(wire: ApiService) -> int | None:
    if wire.spec.session_affinity != "ClientIP":
        return None
    config = wire.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    return min(max(seconds or DEFAULT_AFFINITY, 1), _AFFINITY_LIMIT)


def _is_external(wire: ApiService) -> bool:
    return wire.spec.type in ("NodePort", "LoadBalancer") or bool(wire.spec.external_ips)


def _health_check_port(wire: ApiService, complaints: Complaints) -> int:
    """Return the port at which load balancers ask for local endpoints; 0 for none."""
    spec = wire.spec
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return 0
    try:
        return _number(spec.health_check_node_port or 0, "healthCheckNodePort", least=0)
    except ValueError as err:
        complaints.add("healthCheckNodePort", err)
        return 0


def _weights(wire: ApiService, complaints: Complaints) -> tuple[Weight, ...]:
    """Parse the rules of the annotation. A bad rule is left out; the others count."""
    text = wire.metadata.annotations.get(WEIGHTS)
    if not text:
        return ()
    try:
        rules = split_rules(text)
    except ValueError as err:
        complaints.add(f"annotation {WEIGHTS}", err)
        return ()
    return tuple(_kept(rules, f"annotation {WEIGHTS}", complaints, parse_rule))


def _balance(wire: ApiService, complaints: Complaints) -> Balance:
    text = wire.metadata.annotations.get(BALANCE)
    if text is None:
        return Balance.RANDOM
    try:
        return Balance(text)
    except ValueError:
        known = " or ".join(Balance)
        complaints.add(f"annotation {BALANCE}", f"{text[:80]!r} is not {known}")
        return Balance.RANDOM
