"""Joins what nodes have to one report, and names what differs: pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from debug.cluster import ClusterState, Names
from debug.views.compare import alike, differences
from debug.views.decided import decided
from debug.views.report import EndpointView, FrontendView, NodeEntry, NodeReport, ServicesReport
from proxy.backends.base import STANDS_ON
from proxy.backends.installed import Installed, InstalledKind, Layer, Shares
from proxy.desired.portals import Frontend


@dataclass(frozen=True, slots=True)
class NodeState:
    """What was read of a node; ``mode`` is what its proxy says of itself."""

    node: str
    layers: tuple[Layer, ...]
    mode: str = ""


def join(
    states: Sequence[NodeState], cluster: ClusterState | None, unread: Iterable[str] = ()
) -> ServicesReport:
    """Return the report; without objects of an API only nodes are compared with each other."""
    nodes = [_Node(state, cluster) for state in states]
    lookup = _Lookup(cluster or ClusterState())
    every: dict[Frontend, None] = {}
    for node in nodes:
        every |= dict.fromkeys(node.frontends)
    views = (_view(frontend, nodes, lookup) for frontend in every)
    order = sorted(views, key=lambda one: (one.service, one.name, one.kind, one.address, one.port))
    return ServicesReport(tuple(node.report() for node in nodes), tuple(order), tuple(unread))


class _Node:
    """A node, with what should be there and what is not."""

    def __init__(self, state: NodeState, cluster: ClusterState | None) -> None:
        self.name = state.node
        self._is_known = cluster is None or _has_node(cluster, state.node)
        self.want = decided(cluster, state.node) if cluster and self._is_known else None
        self._state = state
        self.have = state.layers[0] if state.layers else None
        self._wrong: dict[Frontend, tuple[str, ...]] = {}
        if self.want is not None and self.have is not None:
            for layer in state.layers:
                self._compare(self.want, layer)

    def _compare(self, want: Mapping[Frontend, Installed], layer: Layer) -> None:
        of = "" if layer is self.have else f"{layer.by}: "
        for frontend, lines in differences(want, layer.frontends).items():
            named = tuple(f"{of}{line}" for line in lines)
            self._wrong[frontend] = (*self._wrong.get(frontend, ()), *named)

    @property
    def frontends(self) -> Iterator[Frontend]:
        """Every frontend that is there, or should be."""
        yield from self.want or ()
        for layer in self._state.layers:
            yield from layer.frontends

    def installed(self, frontend: Frontend) -> Installed | None:
        """What serves a frontend first."""
        return self.have.frontends.get(frontend) if self.have else None

    def known(self, frontend: Frontend) -> Installed | None:
        """What the objects say of a frontend, else what any layer does."""
        wanted = self.want.get(frontend) if self.want else None
        found = (layer.frontends.get(frontend) for layer in self._state.layers)
        return wanted or next((one for one in found if one is not None), None)

    def entry(self, frontend: Frontend, lookup: "_Lookup") -> NodeEntry | None:
        """Return this node's part; None if it neither has nor should have the frontend."""
        one, wrong = self.installed(frontend), self._wrong.get(frontend, ())
        if self.have is None or (one is None and not wrong):
            return None
        if one is None:
            return NodeEntry(self.name, wrong=wrong)
        return NodeEntry(
            self.name,
            self.have.by,
            lookup.endpoints(one.shares),
            None if one.inside is None else lookup.endpoints(one.inside),
            one.refusal.name.lower() if one.refusal else "",
            one.affinity or 0,
            one.masquerade.name.lower().replace("_", "-") if one.masquerade else "",
            None if one.sources is None else tuple(map(str, one.sources)),
            wrong,
        )

    def report(self) -> NodeReport:
        """Return what concerns all Services."""
        layers = self._state.layers
        faults = [fault for layer in layers for fault in layer.faults]
        strangers = _strangers(layers)
        if strangers:
            faults.append(
                f"rules of {' and of '.join(strangers)} are there at once: two proxies, or what "
                "one has left; podwire proxy --cleanup removes podwire's"
            )
        if not self._is_known:
            faults.append("the API has no Node of this name, so nobody knows what should be here")
        if not layers:
            faults.append("no proxy has installed anything here")
        return NodeReport(
            self.name, self._state.mode, tuple(one.by for one in layers), tuple(faults)
        )


def _has_node(cluster: ClusterState, name: str) -> bool:
    return any(one.metadata.name == name for one in cluster.nodes)


def _strangers(layers: Sequence[Layer]) -> list[str]:
    """Return the back ends, if there are several that do not stand on each other."""
    below = {STANDS_ON.get(layer.by) for layer in layers}
    found = [layer.by for layer in layers if layer.by not in below]
    return found if len(found) > 1 else []


class _Lookup:
    """What the objects say of addresses and Services."""

    def __init__(self, cluster: ClusterState) -> None:
        self._names = Names(cluster)
        self._services = {one.key: one.spec for one in cluster.services}
        self._nodes = {
            address: endpoint.node_name or ""
            for one in cluster.slices
            for endpoint in one.endpoints
            for address in endpoint.addresses
        }
        self._shown: dict[Shares, tuple[EndpointView, ...]] = {}

    def endpoints(self, shares: Shares) -> tuple[EndpointView, ...]:
        """Return endpoints with their names; most frontends of a Service share them."""
        if shares not in self._shown:
            self._shown[shares] = tuple(self._endpoints(shares))
        return self._shown[shares]

    def _endpoints(self, shares: Shares) -> Iterator[EndpointView]:
        for target, part in shares:
            host = target.host
            owner, node = self._names.of(host), self._nodes.get(host, "")
            yield EndpointView(host, target.port, part, owner, node)

    def is_local(self, service: str, kind: InstalledKind) -> bool:
        """Return True if the Service's policy for a kind of address is Local."""
        namespace, _, name = service.partition("/")
        spec = self._services.get((namespace, name))
        if spec is None:
            return False
        inner, outer = spec.internal_traffic_policy, spec.external_traffic_policy
        return (inner if kind is InstalledKind.CLUSTER_IP else outer) == "Local"


def _view(frontend: Frontend, nodes: Sequence[_Node], lookup: _Lookup) -> FrontendView:
    known = next(one for node in nodes if (one := node.known(frontend)) is not None)
    entries = (node.entry(frontend, lookup) for node in nodes)
    service, _, port_name = known.name.partition(":")
    return FrontendView(
        service,
        known.kind.value,
        "" if frontend.address is None else str(frontend.address),
        frontend.port,
        frontend.protocol.value,
        port_name,
        lookup.is_local(service, known.kind) or known.inside is not None,
        _differs(frontend, nodes),
        tuple(entry for entry in entries if entry is not None),
    )


def _differs(frontend: Frontend, nodes: Sequence[_Node]) -> bool:
    """Return True if two nodes differ of which the same was decided."""
    first: _Node | None = None
    for node in nodes:
        if node.have is None:
            continue
        if first is None:
            first = node
        elif _decided_alike(frontend, first, node):
            one, other = first.installed(frontend), node.installed(frontend)
            if (one is None) != (other is None) or (one and other and not alike(one, other)):
                return True
    return False


def _decided_alike(frontend: Frontend, one: _Node, other: _Node) -> bool:
    if one.want is None or other.want is None:
        return True
    return one.want.get(frontend) == other.want.get(frontend)
