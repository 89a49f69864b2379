"""What a speaker keeps of Services, EndpointSlices and Nodes. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from control.api.node import Node
from control.api.service import EndpointSlice, Service
from control.cloud.services.decide import EXCLUDED

Address = IPv4Address | IPv6Address
_SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class ServiceView:
    """The addresses that nodes take for a Service, and its policy."""

    key: tuple[str, str]
    uid: str
    resource_version: str
    addresses: tuple[Address, ...] = ()
    local: bool = False


@dataclass(frozen=True, slots=True)
class SliceView:
    """The nodes with ready endpoints of a slice, and the key of its Service."""

    key: tuple[str, str]
    uid: str
    resource_version: str
    service: tuple[str, str]
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node: does its agent report, and may it take the traffic of load balancers?"""

    key: tuple[str, str]
    uid: str
    resource_version: str
    ready: bool
    usable: bool
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The node's name."""
        return self.key[1]


def service_view(service: Service) -> ServiceView:
    """Return what is kept of a Service. Addresses of ipMode Proxy are somewhere else's."""
    spec, balancer = service.spec, service.status.load_balancer
    found: tuple[Address, ...] = ()
    if spec.type == "LoadBalancer" and balancer is not None:
        found = tuple(
            ip_address(item.ip) for item in balancer.ingress if item.ip and item.ip_mode != "Proxy"
        )
    local = spec.external_traffic_policy == "Local"
    return ServiceView(service.key, service.uid, service.resource_version, found, local)


def slice_view(item: EndpointSlice) -> SliceView:
    """Return what is kept of an EndpointSlice."""
    nodes = frozenset(
        endpoint.node_name or ""
        for endpoint in item.endpoints
        if endpoint.conditions.ready is not False
    )
    service = item.metadata.namespace or "", item.metadata.labels.get(_SERVICE_NAME, "")
    return SliceView(item.key, item.uid, item.resource_version, service, nodes)


def node_view(node: Node) -> NodeView:
    """Return what is kept of a Node."""
    known = {c.type: c.status for c in node.status.conditions}
    return NodeView(
        node.key,
        node.uid,
        node.resource_version,
        ready=known.get("Ready") == "True",
        usable=EXCLUDED not in node.metadata.labels and known.get("NetworkUnavailable") != "True",
        addresses=tuple(a.address for a in node.status.addresses if a.type == "InternalIP"),
    )
