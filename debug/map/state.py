"""What is wrong of one device, as far as its namespace's own state tells. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface

from debug.cluster import ClusterState
from debug.kernel.values import Link, SpaceState
from debug.model import Level
from debug.places import SWITCH
from debug.snapshot import SpaceSnapshot

Fault = tuple[Level, str]
_CARRIED = ("", "veth", "bond", "team", "vlan", "macvlan", "ipvlan")  # kinds that need a carrier
_INTERNAL = "InternalIP"


def faults(state: SpaceState, link: Link) -> Iterator[Fault]:
    """Yield what is wrong of a link: of its state, and of its addresses."""
    if not link.up:
        if is_used(state, link):
            yield Level.FAIL, "is down"
    elif not link.carrier and needs_carrier(state, link):
        yield Level.FAIL, "has no carrier: its other end is down"
    for address in state.addresses:
        if address.link == link.index and address.duplicate:
            yield Level.FAIL, f"another host has {address.ip} too (duplicate address detection)"
        elif address.link == link.index and address.tentative and not _is_of_link(address.ip):
            yield Level.WARN, f"{address.ip} is not in use yet (tentative)"


def _is_of_link(ip: str) -> bool:
    """Return True of a link's own address: it is tentative for a second on each new link."""
    return ip_interface(ip).ip.is_link_local


def is_used(state: SpaceState, link: Link) -> bool:
    """Return True of a link that packets are meant to take: modules leave others behind."""
    addressed = any(address.link == link.index for address in state.addresses)
    return bool(addressed or link.master or link.kind == "veth" or link.name == "lo")


def needs_carrier(state: SpaceState, link: Link) -> bool:
    """Return True of a link that passes nothing without a carrier; a bridge needs a port for it."""
    if link.kind == "bridge":
        return any(port.master == link.index and port.up for port in state.links)
    return link.kind in _CARRIED and is_used(state, link)


def shared_addresses(
    spaces: Iterable[SpaceSnapshot], cluster: ClusterState | None
) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses that more than one place has, though they are of a Pod or of a Node.

    Nodes may share others: behind VirtualBox each has 10.0.2.15, and every Docker 172.17.0.1.
    """
    holders: dict[str, list[str]] = {}
    known = Counter(_of_nodes(cluster))
    for space in spaces:
        for ip in set(_global(space.state)):
            holders.setdefault(ip, []).append(place_of(space))
            known[ip] += space.pod is not None
    return {ip: tuple(who) for ip, who in holders.items() if len(who) > 1 and known[ip]}


def place_of(space: SpaceSnapshot) -> str:
    """Return a space's name on the map: "Node node1", "Pod default/web", "Switch"."""
    if space.node == SWITCH:
        return "Switch"
    return f"Pod {'/'.join(space.pod)}" if space.pod else f"Node {space.node}"


def _of_nodes(cluster: ClusterState | None) -> Iterator[str]:
    for node in cluster.nodes if cluster else ():
        yield from (one.address for one in node.status.addresses if one.type == _INTERNAL)


def _global(state: SpaceState) -> Iterator[str]:
    kinds = {link.index: link.kind for link in state.links}
    for address in state.addresses:
        ip = ip_interface(address.ip).ip
        if not (ip.is_loopback or ip.is_link_local or kinds.get(address.link) == "dummy"):
            yield str(ip)
