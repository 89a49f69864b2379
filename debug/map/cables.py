"""Finds what joins the places of a snapshot: veth pairs, uplinks, tunnels, routes. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface

from debug.kernel.values import Link
from debug.map.graph import Cable, CableKind, End
from debug.map.pairs import Tip, pairs
from debug.map.state import place_of
from debug.model import Level
from debug.snapshot import Snapshot, SpaceSnapshot

_UNICAST = "unicast"
Hops = dict[tuple[End, End], list[str]]  # what goes from one device towards another


def cables(snapshot: Snapshot) -> Iterator[Cable]:
    """Yield all cables of a snapshot, each once."""
    yield from _veths(snapshot)
    yield from _uplinks(snapshot)
    owners = _owners(snapshot)
    yield from _both_ways(_tunnels(snapshot, owners), CableKind.TUNNEL)
    yield from _both_ways(_routes(snapshot, owners), CableKind.ROUTE)


def _veths(snapshot: Snapshot) -> Iterator[Cable]:
    for one, other in pairs(snapshot.spaces):
        yield Cable(CableKind.VETH, _end(snapshot, one), _end(snapshot, other))


def _end(snapshot: Snapshot, tip: Tip) -> End:
    space = snapshot.spaces[tip.space]
    link = space.state.link(tip.link)
    return End(place_of(space), link.name if link else "")


def _uplinks(snapshot: Snapshot) -> Iterator[Cable]:
    """Yield a cable from each device of hardware to the networks of its addresses."""
    for space in snapshot.nodes():
        for link in space.state.links:
            if link.kind or link.name == "lo":
                continue
            for network in sorted(_networks(space, link)):
                name = f"Network {network}"
                yield Cable(CableKind.UPLINK, End(place_of(space), link.name), End(name))


def _networks(space: SpaceSnapshot, link: Link) -> set[str]:
    found = (ip_interface(one.ip) for one in space.state.addresses if one.link == link.index)
    return {str(each.network) for each in found if not each.ip.is_link_local}


def _owners(snapshot: Snapshot) -> Mapping[str, End]:
    """Return the device of each address of a node; of two nodes' the later one."""
    return {
        str(ip_interface(address.ip).ip): End(place_of(space), link.name)
        for space in snapshot.nodes()
        for address in space.state.addresses
        if (link := space.state.link(address.link))
    }


def _tunnels(snapshot: Snapshot, owners: Mapping[str, End]) -> Hops:
    """Return which VXLAN device sends to which: to the one with its VNI on the other node."""
    by_place = {place_of(space): space for space in snapshot.nodes()}
    found: Hops = defaultdict(list)
    for space in snapshot.nodes():
        for entry in space.state.forwarding:
            link = space.state.link(entry.link)
            if link is None or link.vni is None or not entry.destination:
                continue
            here, to = End(place_of(space), link.name), owners.get(entry.destination)
            there = End(entry.destination) if to is None else _same_vni(by_place[to.place], link)
            if there.place != here.place:
                found[here, there] = [f"VNI {link.vni}"]
    return found


def _same_vni(space: SpaceSnapshot, link: Link) -> End:
    devices = (other.name for other in space.state.links if other.vni == link.vni)
    return End(place_of(space), next(devices, ""))


def _routes(snapshot: Snapshot, owners: Mapping[str, End]) -> Hops:
    """Return the networks that a node reaches by way of another node."""
    found: Hops = defaultdict(list)
    for space in snapshot.nodes():
        for route in space.state.routes:
            to, link = owners.get(route.gateway), space.state.link(route.link)
            if to is None or link is None or link.vni is not None or route.kind != _UNICAST:
                continue
            here = End(place_of(space), link.name)
            is_default = route.destination.endswith("/0")
            if to.place != here.place and not is_default:
                found[here, to].append(route.destination)
    return found


def _both_ways(hops: Hops, kind: CableKind) -> Iterator[Cable]:
    """Yield one cable for a way and its way back, and say where there is none."""
    for (here, there), words in hops.items():
        back = hops.get((there, here))
        if back is None:
            yield _one_way(here, there, words, kind)
        elif (here.place, here.device) < (there.place, there.device):
            label = ", ".join(dict.fromkeys([*words, *back]))
            yield Cable(kind, here, there, label)


def _one_way(here: End, there: End, words: list[str], kind: CableKind) -> Cable:
    """A tunnel without a way back is wrong. A node with no Pods needs no route back to them."""
    label = ", ".join(dict.fromkeys(words))
    if kind is CableKind.ROUTE:
        return Cable(kind, here, there, label)
    if not there.device:
        why = f"what {there.place} sends back was not read"
        return Cable(kind, here, there, label, Level.UNKNOWN, (why,))
    why = f"{there.place} has no way back to {here.place}"
    return Cable(kind, here, there, label, Level.WARN, (why,))
