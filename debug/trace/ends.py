"""Which namespace a probe starts from, and to which address it goes.

An end is ``[KIND/][NAMESPACE/]NAME`` or an address; KIND is pod, service (svc) or node. ``outside``
is the world beyond the nodes: in a lab its switch.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import ip_address

from control.reported import ReportedError
from debug.cluster import ClusterState, addresses_of
from debug.places import SWITCH, Ground, Place, PlaceError, entered
from debug.ruleset.read.fib import KernelFib
from lab.ports import PortError, split_port
from proxy.objects.wire import Service

PROTOCOLS = ("tcp", "udp", "icmp")
OUTSIDE = "outside"
STRANGERS = ("198.51.100.1", "2001:db8::1")  # addresses of documentation (RFC 5737, 3849)
_KINDS = {"pod": "pod", "service": "service", "svc": "service", "node": "node"}
_LONGEST = 600


class EndError(ReportedError):
    """An end does not exist, or its text is none; the text says what it can be."""


@dataclass(frozen=True, slots=True)
class End:
    """An end as it was asked for. ``kind`` is "" if any fits; ``name`` may be an address."""

    kind: str
    namespace: str
    name: str
    port: int | None = None
    protocol: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The namespace and the name."""
        return self.namespace, self.name

    @property
    def is_outside(self) -> bool:
        """True for the world beyond the nodes; a Pod of that name is pod/outside."""
        return not self.kind and self.name == OUTSIDE


@dataclass(frozen=True, slots=True)
class Target:
    """Where the probe goes: an address, and the Pods that may receive it."""

    shown: str
    addresses: tuple[str, ...]
    port: int | None = None
    pods: tuple[tuple[str, str], ...] = ()
    answer_ports: tuple[int, ...] = ()  # of a Service's endpoints


def parse_end(text: str, namespace: str = "default") -> End:
    """Return what a text asks for: NAME[:PORT][/PROTOCOL]. Raises EndError."""
    if not text or len(text) > _LONGEST:
        raise EndError(f"{text[:40]!r} is no end: give a Pod, a Service, a node or an address")
    head, _, last = text.rpartition("/")
    protocol = last.lower() if head and last.lower() in PROTOCOLS else ""
    if protocol:
        text = head
    try:
        text, port = split_port(text)
    except PortError as err:
        raise EndError(str(err)) from err
    kind, space, name = _named(text)
    return End(kind, space or namespace, name, port, protocol)


def _named(text: str) -> tuple[str, str, str]:
    *spaces, name = text.split("/")
    kind = _KINDS[spaces.pop(0)] if spaces and spaces[0] in _KINDS else ""
    if len(spaces) > 1 or not name:
        raise EndError(f"{text[:80]!r} is no end: write [KIND/][NAMESPACE/]NAME, or an address")
    return kind, spaces[0] if spaces else "", name


def find_source(end: End, ground: Ground, cluster: ClusterState | None) -> Place:
    """Return the namespace that a probe starts from. Raises EndError, PlaceError."""
    if end.is_outside:
        if (place := switch(ground)) is not None:
            return place
        raise EndError("nothing can be sent from outside of these nodes: podwire explain can tell")
    if _is_address(end.name):
        return _place_of(end.name, ground, cluster)
    if end.kind in ("", "pod"):
        for place in ground.places:
            if place.pod == end.key:
                return place
    for place in ground.nodes() if end.kind in ("", "node") else ():
        if place.node == end.name:
            return place
    if end.kind == "service":
        raise EndError("a Service sends no packets: start from a Pod or from a node")
    nodes = ", ".join(place.node for place in ground.nodes())
    raise EndError(
        f"no Pod {'/'.join(end.key)} with a network of its own, and no node {end.name}, can be "
        f"entered from here: there are the nodes {nodes}"
    )


def switch(ground: Ground) -> Place | None:
    """Return the namespace that is the world outside of a lab's nodes; other nodes have none."""
    return next((place for place in ground.nodes() if place.node == SWITCH), None)


Addresses = Callable[[Place], Iterable[str]]


def own_addresses(place: Place) -> Iterator[str]:
    """Yield a namespace's own addresses, of IPv4 first. Raises PlaceError, OSError."""
    with entered(place), closing(KernelFib()) as fib:
        found = [address for _, address, *_ in fib.addresses]
    for one in sorted(found, key=lambda one: one.version):
        if not one.is_loopback and not one.is_link_local:
            yield str(one)


def target_of(
    end: End, ground: Ground, cluster: ClusterState | None, own: Addresses = own_addresses
) -> Target:
    """Return where a packet goes, which may be outside. Raises EndError, PlaceError, OSError.

    ``own`` tells a namespace's addresses.
    """
    if not end.is_outside:
        target = find_target(end, cluster)
        return target if cluster else replace(target, pods=_pods_of(ground, target))
    place = switch(ground)
    addresses = STRANGERS if place is None else tuple(own(place))
    return _reachable(Target(OUTSIDE, addresses, end.port))


def _pods_of(ground: Ground, target: Target) -> tuple[tuple[str, str], ...]:
    """Return the Pods that may receive what is sent to an address, without an API to ask."""
    pods = [place for place in ground.places if place.pod is not None]
    named = [one for one in pods if target.addresses[0] in one.addresses]
    return tuple(one.pod for one in named or pods if one.pod is not None)


def called_from_outside(end: End, target: Target, cluster: ClusterState | None) -> Target:
    """Return where a Service is called from outside: a balancer's address, or a NodePort."""
    service = cluster.service(end.key) if cluster and end.kind in ("", "service") else None
    if cluster is None or service is None or not target.shown.startswith("Service "):
        return target
    inside = {str(ip_address(one)) for one in service.spec.cluster_ips if _is_address(one)}
    offered = tuple(one for one in addresses_of(service) if one not in inside)
    if offered:
        return replace(target, addresses=offered)
    ports = [one.node_port for one in service.spec.ports if one.port == target.port]
    nodes = [address.address for node in cluster.nodes for address in node.status.addresses]
    if not any(ports) or not nodes:
        return target
    shown = f"{target.shown} at {nodes[0]}"
    return _reachable(replace(target, shown=shown, addresses=(nodes[0],), port=ports[0]))


def _place_of(address: str, ground: Ground, cluster: ClusterState | None) -> Place:
    """Return the place that has an address, which only the API's objects tell."""
    for pod in cluster.pods if cluster else ():
        if address in [one.ip for one in pod.status.pod_ips] and not pod.spec.host_network:
            return ground.pod(pod.key)
    for node in cluster.nodes if cluster else ():
        if address in [one.address for one in node.status.addresses]:
            return ground.node(node.metadata.name)
    for place in ground.places:
        if address in place.addresses:
            return place
    raise EndError(f"no Pod and no node of the cluster has the address {address}")


def find_target(end: End, cluster: ClusterState | None) -> Target:
    """Return where a probe goes. Raises EndError."""
    if _is_address(end.name):
        address = str(ip_address(end.name))
        return _behind(address, end.port, cluster)
    if cluster is None:
        raise EndError(f"{end.name} is no address, and without --kubeconfig no name is known")
    found = [
        target
        for kind, look in (("pod", _pod), ("service", _service), ("node", _node))
        if end.kind in ("", kind) and (target := look(end, cluster))
    ]
    if len(found) > 1:
        names = " and ".join(one.shown for one in found)
        raise EndError(f"{end.name} is {names}: write the kind, such as service/{end.name}")
    if not found:
        raise EndError(f"there is no Pod, Service or node {'/'.join(end.key)}")
    return _reachable(found[0])


def _reachable(target: Target) -> Target:
    """Return a target with the addresses that are some: they go into the text of rules."""
    usable = tuple(str(ip_address(one)) for one in target.addresses if _is_address(one))
    if not usable:
        raise EndError(f"{target.shown} has no address yet: is it scheduled, and does it run?")
    return replace(target, addresses=usable)


def _pod(end: End, cluster: ClusterState) -> Target | None:
    for pod in cluster.pods:
        if pod.key == end.key:
            addresses = tuple(one.ip for one in pod.status.pod_ips if one.ip)
            return Target(f"Pod {'/'.join(end.key)}", addresses, end.port, (pod.key,))
    return None


def _service(end: End, cluster: ClusterState) -> Target | None:
    service = cluster.service(end.key)
    if service is None:
        return None
    addresses = tuple(ip for ip in service.spec.cluster_ips if ip not in ("", "None"))
    if not addresses:
        raise EndError(f"Service {'/'.join(end.key)} has no address: it is headless")
    port = end.port or (service.spec.ports[0].port if service.spec.ports else None)
    return _to_service(f"Service {'/'.join(end.key)}", addresses, port, service, cluster)


def _to_service(
    shown: str, addresses: tuple[str, ...], port: int | None, to: Service, cluster: ClusterState
) -> Target:
    ports = {one.port or 0 for each in cluster.slices_of(to.key) for one in each.ports}
    return Target(shown, addresses, port, _endpoints(to.key, cluster), tuple(sorted(ports)))


def _node(end: End, cluster: ClusterState) -> Target | None:
    for node in cluster.nodes:
        if node.metadata.name == end.name:
            wanted = [one.address for one in node.status.addresses if one.type == "InternalIP"]
            return Target(f"Node {end.name}", tuple(wanted), end.port, _all(cluster))
    return None


def _endpoints(key: tuple[str, str], cluster: ClusterState) -> tuple[tuple[str, str], ...]:
    """Return a Service's Pods; those of EndpointSlices written by hand by their addresses."""
    ends = [one for each in cluster.slices_of(key) for one in each.endpoints]
    named = [
        (one.target_ref.namespace or key[0], one.target_ref.name or "")
        for one in ends
        if one.target_ref and one.target_ref.kind == "Pod"
    ]
    bare = {ip for one in ends if one.target_ref is None for ip in one.addresses}
    owners = (pod for pod in cluster.pods if any(one.ip in bare for one in pod.status.pod_ips))
    return tuple(dict.fromkeys([*named, *(pod.key for pod in owners if bare)]))


def _behind(address: str, port: int | None, cluster: ClusterState | None) -> Target:
    """Return the target of an address, with the Pods that may receive what is sent to it."""
    to = (address,)
    if cluster is None:
        return Target(address, to, port)
    for pod in cluster.pods:
        if address in [one.ip for one in pod.status.pod_ips]:
            return Target(address, to, port, (pod.key,))
    for service in cluster.services:
        if address in (*service.spec.cluster_ips, *service.spec.external_ips):
            return _to_service(address, to, port, service, cluster)
    return Target(address, to, port, _all(cluster))


def _all(cluster: ClusterState) -> tuple[tuple[str, str], ...]:
    """Return the Pods behind all Services: a node's port may lead to any of them."""
    found = (pod for service in cluster.services for pod in _endpoints(service.key, cluster))
    return tuple(dict.fromkeys(found))


def _is_address(text: str) -> bool:
    """Return True for an address without a zone, which may be any text (RFC 4007)."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def watched(ground: Ground, source: Place, target: Target, most: int) -> tuple[Place, ...]:
    """Return the places on the way: all nodes, and the Pods that may receive the probe."""
    pods: list[Place] = []
    for key in target.pods[:most]:
        try:
            pods.append(ground.pod(key))
        except PlaceError:
            continue  # in its node's network, or not on a node that can be entered
    return tuple(dict.fromkeys((source, *ground.nodes(), *pods)))
