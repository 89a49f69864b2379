"""Follows a Service to its endpoints, as each node sees it. Pure.

The shares are those that the nodes' proxies compute (``proxy.desired``): equal, unless weights,
topology hints or traffic policies say otherwise.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from control.reported import ReportedError
from debug.cluster import ClusterState
from proxy.desired.endpoints import merged
from proxy.desired.portals import Portal, portals
from proxy.model.values import Endpoint, NodeView, PortKey, Service, Target
from proxy.objects.parse import Complaints, parse_node, parse_service, parse_slice
from proxy.objects.wire import Service as ApiService

EVERY_NODE = "NODE"  # stands for the addresses of the node that is called
_MOST_NAMES = 20  # that an error lists
_HEADLESS = "it has no ClusterIP, or another proxy serves it: clients choose an endpoint by DNS"
_ELSEWHERE = "it is a name for another host: clients resolve it by DNS"
Flow = tuple[str, str]  # the address and port that was called, and those that answer
Connections = Mapping[str, Mapping[Flow, int]]  # by the node that tracks them
_Answered = Mapping[str, Mapping[str, Mapping[str, int]]]  # by node, who answers, who was called


class EndpointView(Struct, frozen=True, omit_defaults=True):
    """An endpoint of one port. Shares are from 0 to 1, by the node that a connection starts on."""

    address: str  # with its port
    pod: str = ""
    node: str = ""
    zone: str = ""
    state: str = "ready"  # ready, not ready, or terminating while it serves
    shares: dict[str, float] = {}  # of connections to the ClusterIP
    outside: dict[str, float] = {}  # of those from outside, if they are others
    connections: dict[str, int] = {}  # that the node tracks; without a node: it was not read


class PortView(Struct, frozen=True, omit_defaults=True):
    """A port of a Service in one family."""

    protocol: str
    port: int
    addresses: tuple[str, ...]  # that lead here, with ports; ``EVERY_NODE``: a node's own
    name: str = ""
    endpoints: tuple[EndpointView, ...] = ()
    refused: dict[str, str] = {}  # by node: rejected or dropped, as there is no endpoint for it
    narrowed: tuple[str, ...] = ()  # nodes on which topology hints keep endpoints out


class ServiceMap(Struct, frozen=True, omit_defaults=True):
    """A Service, and where each of its ports leads. ``notes`` says what is special of it."""

    namespace: str
    name: str
    type: str
    ports: tuple[PortView, ...] = ()
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class MapError(ReportedError):
    """A map cannot be drawn; the text says of what, why, and what to do."""


def find(cluster: ClusterState, name: str) -> ApiService:
    """Return the Service of [NAMESPACE/]NAME. Raises MapError, which names those there are."""
    namespace, _, own = name.rpartition("/")
    found = cluster.service((namespace or "default", own))
    if found is None:
        known = sorted("/".join(one.key) for one in cluster.services)[:_MOST_NAMES]
        raise MapError(f"no Service {namespace or 'default'}/{own}: there are {', '.join(known)}")
    return found


def follow(
    cluster: ClusterState, wire: ApiService, connections: Connections | None = None
) -> ServiceMap:
    """Return the map of one Service; ``connections`` are those of the nodes that were read."""
    complaints = Complaints(f"Service {'/'.join(wire.key)}")
    service = parse_service(wire, complaints)
    answered = {node: _by_answering(each) for node, each in (connections or {}).items()}
    ports = () if service is None else tuple(_ports(cluster, service, answered))
    notes = (*_notes(wire, service), *complaints.lines)
    namespace, name = wire.key
    return ServiceMap(namespace, name, wire.spec.type or "ClusterIP", ports, notes)


def _notes(wire: ApiService, service: Service | None) -> Iterator[str]:
    if service is None:
        is_name = wire.spec.type == "ExternalName"
        yield _ELSEWHERE if is_name else _HEADLESS
        return
    if service.affinity:
        yield f"a client keeps its endpoint for {service.affinity} s"
    if service.internal_local:
        yield "internalTrafficPolicy Local: only endpoints on the client's node"
    if service.external_local:
        yield "externalTrafficPolicy Local: from outside only endpoints on the node that is called"
    if service.weights:
        yield "its endpoints have weights"


def _by_answering(tracked: Mapping[Flow, int]) -> Mapping[str, Mapping[str, int]]:
    """Return who was called how often, by who answers: each endpoint looks up its own."""
    found: dict[str, dict[str, int]] = {}
    for (called, answering), count in tracked.items():
        found.setdefault(answering, {})[called] = count
    return found


def _ports(cluster: ClusterState, service: Service, answered: _Answered) -> Iterator[PortView]:
    nodes = [parse_node(wire, Complaints("")) for wire in cluster.nodes] or [NodeView("")]
    ways = {
        node.name: portals(service, _by_port(cluster, service, node.name), node) for node in nodes
    }
    known = _by_port(cluster, service, "")
    where = _where(cluster, service)
    for number, port in enumerate(ways[nodes[0].name]):
        by_node = {name: each[number] for name, each in ways.items()}
        ours = known.get((port.port_name, port.protocol), ())
        mine = merged(one for one in ours if one.target.family is port.family)
        yield _port(by_node, [_endpoint(one, by_node, where, answered) for one in mine])


def _by_port(
    cluster: ClusterState, service: Service, node: str
) -> Mapping[PortKey, Sequence[Endpoint]]:
    """Return the endpoints of each port, as the node of this name sees them."""
    found: dict[PortKey, list[Endpoint]] = {}
    for wire in cluster.slices_of(service.key):
        part = parse_slice(wire, node, Complaints(""))
        for port, endpoints in part.endpoints.items() if part else ():
            found.setdefault(port, []).extend(endpoints)
    return found


def _where(cluster: ClusterState, service: Service) -> Mapping[str, tuple[str, str]]:
    """Return node and zone of each endpoint's address."""
    return {
        one.addresses[0]: (one.node_name or "", one.zone or "")
        for wire in cluster.slices_of(service.key)
        for one in wire.endpoints
        if one.addresses
    }


def _port(by_node: Mapping[str, Portal], endpoints: list[EndpointView]) -> PortView:
    portal = next(iter(by_node.values()))
    refused = {
        name: "dropped" if each.anywhere else "rejected"
        for name, each in by_node.items()
        if not each.internal
    }
    return PortView(
        protocol=portal.protocol.value,
        port=portal.number,
        addresses=tuple(_frontends(portal)),
        name=portal.port_name,
        endpoints=tuple(endpoints),
        refused=refused,
        narrowed=tuple(name for name, each in by_node.items() if each.is_narrowed),
    )


def _frontends(portal: Portal) -> Iterator[str]:
    for ip in (portal.cluster_ip, *portal.external_ips, *portal.load_balancer_ips):
        yield str(Target.of(ip, portal.number))
    if portal.node_port:
        yield f"{EVERY_NODE}:{portal.node_port}"


def _endpoint(
    endpoint: Endpoint,
    by_node: Mapping[str, Portal],
    where: Mapping[str, tuple[str, str]],
    answered: _Answered,
) -> EndpointView:
    target = endpoint.target
    node, zone = where.get(str(target.address), ("", ""))
    inside = {name: _share(target, each.internal) for name, each in by_node.items()}
    outside = {name: _share(target, each.external) for name, each in by_node.items()}
    external = any(each.is_external for each in by_node.values())
    fronts = {front for each in by_node.values() for front in _frontends(each)}
    return EndpointView(
        address=str(target),
        pod=endpoint.pod,
        node=node,
        zone=zone,
        state=_state(endpoint),
        shares=inside,
        outside=outside if external and outside != inside else {},
        connections={
            name: _count(each.get(str(target), {}), fronts) for name, each in answered.items()
        },
    )


def _share(target: Target, pool: Sequence[Target]) -> float:
    return pool.count(target) / len(pool) if pool else 0.0


def _state(endpoint: Endpoint) -> str:
    if endpoint.ready:
        return "ready"
    return "terminating" if endpoint.terminating and endpoint.serving else "not ready"


def _count(calls: Mapping[str, int], fronts: Collection[str]) -> int:
    """Return how many of the connections that a target answers went to a Service's address."""
    ports = {front.rpartition(":")[2] for front in fronts if front.startswith(EVERY_NODE)}
    return sum(
        count
        for called, count in calls.items()
        if called in fronts or called.rpartition(":")[2] in ports
    )
