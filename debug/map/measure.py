"""Measures the mesh of a cluster: every node to every other, and a Pod of each to one of each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_interface
from threading import Event

from debug.kernel.values import SpaceState
from debug.map.effort import Effort
from debug.map.mesh import Mesh, Way
from debug.map.probe import measure
from debug.places import SWITCH, Ground, Place, PlaceError, inside
from debug.snapshot import Snapshot

_AT_ONCE = 16  # ways: each thread waits for answers nearly all the time
_MOST_NODES = 20


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that is measured from and to."""

    place: Place
    addresses: tuple[str, ...]  # one of each family


def measured(ground: Ground, snapshot: Snapshot, effort: Effort, over: Event | None = None) -> Mesh:
    """Send the echoes, all ways beside each other, and return what came back.

    Once ``over`` is set no further way is begun.
    """
    over = over or Event()
    unread: list[str] = []
    spots = list(_spots(ground, snapshot, unread))
    ways = [(a.place, way) for a in spots for b in spots for way in _ways(a, b)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = tuple(pool.map(lambda each: _sent(each[0], each[1], effort, over), ways))
    return Mesh(datetime.now(UTC).isoformat(timespec="seconds"), found, tuple(unread))


def _sent(place: Place, way: Way, effort: Effort, over: Event) -> Way:
    if over.is_set():
        return Way(way.source, way.destination, way.address, fault="it was ended")
    try:
        return inside(place, lambda: measure(way, effort))
    except PlaceError as err:
        return Way(way.source, way.destination, way.address, fault=str(err))


def _ways(a: Spot, b: Spot) -> Iterator[Way]:
    """Yield the ways between two nodes, or between two Pods of different nodes."""
    if a.place.node == b.place.node or (a.place.pod is None) != (b.place.pod is None):
        return
    versions = {_version(address) for address in a.addresses}
    for address in b.addresses:
        if _version(address) in versions:
            yield Way(a.place.name, b.place.name, address)


def _spots(ground: Ground, snapshot: Snapshot, unread: list[str]) -> Iterator[Spot]:
    nodes = [place for place in ground.nodes() if place.node != SWITCH]
    if len(nodes) > _MOST_NODES:
        unread.append(f"only {_MOST_NODES} of {len(nodes)} nodes are measured")
    for node in nodes[:_MOST_NODES]:
        if addresses := _of_node(snapshot, node.node):
            yield Spot(node, addresses)
        else:
            unread.append(f"Node {node.node} has no address that others may call")
        pod = next(
            (place for place in ground.places if place.pod and place.node == node.node), None
        )
        addresses = _of_pod(snapshot, pod) if pod else ()
        if pod and addresses:
            yield Spot(pod, addresses)
        elif _runs_pods(snapshot, node.node):
            unread.append(f"no Pod of {node.node} to measure from: its tunnels are not tried")


def _runs_pods(snapshot: Snapshot, name: str) -> bool:
    """Return False for a machine that is no Node, as a lab's control plane."""
    cluster = snapshot.cluster
    return cluster is None or any(node.metadata.name == name for node in cluster.nodes)


def _of_node(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Return the addresses of the Node, else of the device that leads to others."""
    for node in snapshot.cluster.nodes if snapshot.cluster else ():
        if node.metadata.name == name:
            found = (one.address for one in node.status.addresses if one.type == "InternalIP")
            return _one_a_family(found)
    state = snapshot.node(name)
    return _one_a_family(_global(state, "eth0")) if state else ()


def _of_pod(snapshot: Snapshot, place: Place) -> tuple[str, ...]:
    for space in snapshot.spaces:
        if (space.node, space.pod) == (place.node, place.pod):
            return _one_a_family(_global(space.state, "eth0"))
    return ()


def _global(state: SpaceState, link: str) -> Iterator[str]:
    device = state.named(link)
    for address in state.addresses:
        ip = ip_interface(address.ip).ip
        if device and address.link == device.index and not ip.is_link_local:
            yield str(ip)


def _one_a_family(addresses: Iterator[str]) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for address in addresses:
        found.setdefault(_version(address), address)
    return tuple(found.values())


def _version(address: str) -> int:
    return 6 if ":" in address else 4
