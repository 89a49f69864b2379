"""Names for tracked flows: which Service was called, who called, who answers. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct

from debug.cluster import SERVICE_LABEL, ClusterState, Names, addresses_of, plain_address
from debug.kernel.conntrack import Tracked
from proxy.model.values import Key


class NamedFlow(Struct, frozen=True, omit_defaults=True):
    """A flow of a node. ``event`` is new, update or end, or "" of one that was listed.

    ``server`` is who answers. ``stale`` is True if that is none of the Service's endpoints.
    """

    node: str
    flow: Tracked
    event: str = ""
    time: str = ""  # of an event, RFC 3339
    client: str = ""
    service: str = ""  # namespace/name
    port: str = ""  # the name of its port
    called: str = ""  # who has the address that was called, if it is of no Service
    server: str = ""
    stale: bool = False


class Called(Struct, frozen=True):
    """A Service's port."""

    service: Key
    port: str


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows are asked for; what is empty admits all."""

    service: str = ""  # NAMESPACE/NAME
    pod: str = ""  # NAMESPACE/NAME
    port: int = 0  # in any place
    protocol: str = ""

    def admits_raw(self, flow: Tracked) -> bool:
        """Return True if a flow without its names may be one of them."""
        if self.protocol and flow.protocol.upper() != self.protocol.upper():
            return False
        return not self.port or self.port in _ports(flow)

    def admits(self, named: NamedFlow) -> bool:
        """Return True if a flow is one of them."""
        if self.service and named.service != self.service:
            return False
        ends = (named.client, named.server, named.called)
        return not self.pod or f"Pod {self.pod}" in ends


def _ports(flow: Tracked) -> Iterator[int]:
    for one in (flow.original, flow.reply):
        yield from (one.source_port, one.destination_port)


class FlowNames:
    """What the objects say of addresses and ports."""

    def __init__(self, cluster: ClusterState) -> None:
        self._names = Names(cluster)
        self._called = dict(_addresses(cluster))
        self._node_ports = dict(_node_ports(cluster))
        self._answering: dict[Key, set[str]] = {}
        for service, address in _endpoints(cluster):
            self._answering.setdefault(service, set()).add(address)

    def named(self, node: str, flow: Tracked, event: str = "", time: str = "") -> NamedFlow:
        """Return a flow with its names."""
        first, back = flow.original, flow.reply
        called = self.called(flow)
        owner = self._names.of(first.destination)
        answering = self._answering.get(called.service, set()) if called else set()
        return NamedFlow(
            node,
            flow,
            event,
            time,
            self._names.of(first.source),
            "/".join(called.service) if called else "",
            called.port if called else "",
            "" if called else owner,
            self._names.of(back.source),
            bool(called and flow.translated and back.source not in answering),
        )

    def owner(self, address: str) -> str:
        """Return the name of who has an address; "" for a stranger."""
        return self._names.of(address)

    def called_at(self, address: str, port: int, protocol: str) -> Called | None:
        """Return the Service's port that is called at an address: one of its own, or a node's."""
        if found := self._called.get((address, port, protocol)):
            return found
        is_node = self._names.of(address).startswith("Node ")
        return self._node_ports.get((port, protocol)) if is_node else None

    def called(self, flow: Tracked) -> Called | None:
        """Return the Service's port that a flow called; None if it called none."""
        first = flow.original
        at = first.destination, first.destination_port, flow.protocol
        if (found := self._called.get(at)) or not flow.translated:
            return found
        return self._node_ports.get((first.destination_port, flow.protocol))


def _addresses(cluster: ClusterState) -> Iterator[tuple[tuple[str, int, str], Called]]:
    for one in cluster.services:
        for ip in addresses_of(one):
            for port in one.spec.ports:
                place = ip, port.port or 0, port.protocol or "TCP"
                yield place, Called(one.key, port.name or "")


def _node_ports(cluster: ClusterState) -> Iterator[tuple[tuple[int, str], Called]]:
    for one in cluster.services:
        for port in one.spec.ports:
            if port.node_port:
                yield (port.node_port, port.protocol or "TCP"), Called(one.key, port.name or "")


def _endpoints(cluster: ClusterState) -> Iterator[tuple[Key, str]]:
    for one in cluster.slices:
        service = one.key[0], one.metadata.labels.get(SERVICE_LABEL, "")
        for endpoint in one.endpoints:
            yield from ((service, plain_address(address)) for address in endpoint.addresses)
