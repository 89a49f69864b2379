"""Which routes a cloud must lose and get, and what a Node's condition says of them. Pure.

Source: k8s.io/cloud-provider/controllers/route/route_controller.go.
"""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from control.api.meta import Condition
from control.api.node import Node
from control.cloud.provider import Route

Cidr = IPv4Network | IPv6Network
CONDITION = "NetworkUnavailable"
_SAYS = {
    True: ("False", "RouteCreated", "RouteController created a route"),
    False: ("True", "NoRouteCreated", "RouteController failed to create a route"),
}


def wanted(nodes: Iterable[Node]) -> Iterator[Route]:
    """Yield the routes that Nodes need; one without Pod ranges needs none yet."""
    for node in nodes:
        for cidr in node.spec.pod_cidrs:
            yield Route(node.metadata.name, _plain(cidr))


def _plain(cidr: str) -> str:
    """Write a range as clouds do; what is none stays as it is, for the cloud to refuse."""
    try:
        return str(ip_network(cidr, strict=False))
    except ValueError:
        return cidr


def obsolete(
    have: Iterable[Route], want: Collection[Route], cluster: Collection[Cidr]
) -> Iterator[Route]:
    """Yield the routes to delete: those of the cluster's ranges that no Node needs."""
    for route in have:
        if route not in want and _is_ours(route, cluster):
            yield route


def _is_ours(route: Route, cluster: Collection[Cidr]) -> bool:
    """True if a route begins or ends in the cluster's ranges; others may have other makers."""
    try:
        cidr = ip_network(route.destination, strict=False)
    except ValueError:
        return False
    return any(cidr[0] in each or cidr[-1] in each for each in cluster)


def condition(node: Node, *, created: bool, now: str) -> Condition | None:
    """Return what a Node must say of its routes; None if it says so. ``now`` is a metav1.Time."""
    status, reason, message = _SAYS[created]
    for each in node.status.conditions:
        if (each.type, each.status, each.reason) == (CONDITION, status, reason):
            return None
    return Condition(
        type=CONDITION,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=now,
        last_heartbeat_time=now,
    )


def counts(old: Node | None, new: Node | None) -> bool:
    """True if a change of a Node may change its routes."""
    if old is None or new is None:
        return True
    return (old.spec.pod_cidrs, old.status.addresses) != (new.spec.pod_cidrs, new.status.addresses)
