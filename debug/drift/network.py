"""Compares the node network with its plan: routes, the tunnel, its tables, forwarding. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from control.node_network.plan import DEVICE, PROTOCOL, NetworkPlan
from debug.doctor.checks.tunnels import routes as route_findings
from debug.doctor.look import Look, NodeLook, peer_of
from debug.drift.model import Drift, State

_UNREACHED = "this node does not reach those Pods"


def network_drift(look: Look, node: NodeLook, want: NetworkPlan) -> Iterator[Drift]:
    """Yield what differs from a plan."""
    yield from _routes(look, node, want)
    yield from _tunnel(look, node, want)
    for name, value in want.sysctls:
        have = node.sysctl(name)
        if " " not in value and have and have != value:
            what = f"/proc/sys/{name}: {have}, not {value}"
            yield Drift(node.name, State.MISSING, "sysctl", what, f"Node {node.name}", _UNREACHED)


def _owners(look: Look) -> dict[str, str]:
    """The nodes of Pod ranges."""
    return {
        str(cidr): f"Pods of {node.metadata.name}"
        for node in look.cluster.nodes
        for cidr in peer_of(node).cidrs
    }


def _routes(look: Look, node: NodeLook, want: NetworkPlan) -> Iterator[Drift]:
    owners = _owners(look)
    links = {link.index: link.name for link in node.space.links}
    wanted = {(str(one.cidr), str(one.via), one.ifname) for one in want.routes}
    have = {
        (one.destination, one.gateway, links.get(one.link, ""))
        for one in node.space.routes
        if one.protocol == PROTOCOL
    }
    for cidr, via, link in sorted(wanted - have):
        what, owner = f"{cidr} via {via} dev {link} proto {PROTOCOL}", owners.get(cidr, "")
        yield Drift(node.name, State.MISSING, "route", what, owner, _UNREACHED)
    for cidr, via, link in sorted(have - wanted):
        what, owner = f"{cidr} via {via} dev {link} proto {PROTOCOL}", owners.get(cidr, "no node")
        consequence = "packets go to a node that does not have those Pods"
        yield Drift(node.name, State.STALE, "route", what, owner, consequence)
    for one in route_findings(replace(look, nodes=(node,))):
        if one.check in ("foreign-route", "duplicate-pod-cidr"):
            what = one.evidence[0].removeprefix("main table: ")
            owner = "another program"
            yield Drift(node.name, State.FOREIGN, "route", what, owner, one.consequence)


def _tunnel(look: Look, node: NodeLook, want: NetworkPlan) -> Iterator[Drift]:
    device = node.space.named(DEVICE)
    if want.tunnel is None or device is None:
        if want.tunnel is not None:
            yield Drift(node.name, State.MISSING, "link", DEVICE, "all other nodes", _UNREACHED)
        elif device is not None:
            what = "packets may take a tunnel that nobody keeps"
            yield Drift(node.name, State.STALE, "link", DEVICE, "no overlay of this node", what)
        return
    wanted = {
        *(("forwarding", f"{one.mac} dst {one.node}") for one in want.tunnel.forwarding),
        *(("neighbor", f"{one.address} lladdr {one.mac}") for one in want.tunnel.neighbors),
        *(("address", str(one)) for one in want.tunnel.addresses if one.version == 4),
    }
    have = set(_tables(node, device.index))
    for sort, what in sorted(wanted - have):
        yield Drift(node.name, State.MISSING, sort, what, _named(look, what), _UNREACHED)
    for sort, what in sorted(have - wanted):
        owner = _named(look, what) or "no node"
        consequence = "frames go to a node that does not expect them"
        yield Drift(node.name, State.STALE, sort, what, owner, consequence)


def _tables(node: NodeLook, device: int) -> Iterator[tuple[str, str]]:
    for one in node.space.forwarding:
        if one.link == device and one.destination:
            yield "forwarding", f"{one.mac} dst {one.destination}"
    for entry in node.space.neighbors:
        if entry.link == device and entry.state == "permanent":
            yield "neighbor", f"{entry.ip} lladdr {entry.mac}"
    for address in node.space.addresses:
        if address.link == device and ":" not in address.ip:
            yield "address", address.ip.partition("/")[0]


def _named(look: Look, what: str) -> str:
    """The node of an entry: its address, or that of its Pod range, is named in it."""
    for word in what.split():
        if name := look.names.of(word):
            return name
        for node in look.cluster.nodes:
            if any(str(cidr.network_address) == word for cidr in peer_of(node).cidrs):
                return f"Node {node.metadata.name}"
    return ""
