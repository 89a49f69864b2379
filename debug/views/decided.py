"""What a node's proxy should have installed, by the API's objects: pure.

The proxy's own functions decide it, so it is what podwire's proxy decides on that node. kube-proxy
decides the same but for what docs/proxy/reference.md names.
"""

from debug.cluster import ClusterState
from proxy.backends.installed import Installed, InstalledKind, even
from proxy.desired.claims import ClaimResolver, FrontendClaim
from proxy.desired.portals import Frontend, FrontendKind, Masquerade, RefusalAction
from proxy.desired.tracker import Tracker
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView
from proxy.objects.parse import Complaints, parse_node, parse_service, parse_slice

_KINDS = {
    FrontendKind.CLUSTER_IP: InstalledKind.CLUSTER_IP,
    FrontendKind.LOAD_BALANCER: InstalledKind.LOAD_BALANCER,
    FrontendKind.EXTERNAL_IP: InstalledKind.EXTERNAL_IP,
    FrontendKind.NODE_PORT: InstalledKind.NODE_PORT,
}


def decided(cluster: ClusterState, node: str) -> dict[Frontend, Installed]:
    """Return every frontend that a node should serve or refuse."""
    claims = ClaimResolver(ProxySettings())
    claims.update(tracked(cluster, node).desired())
    return {frontend: _installed(frontend, claim) for frontend, claim in claims.winners()}


def tracked(cluster: ClusterState, node: str) -> Tracker:
    """Return the objects as the proxy of a node holds them."""
    tracker = Tracker(_view(cluster, node), tuple(Family))
    for service in cluster.services:
        parsed = parse_service(service, Complaints(service.metadata.name))
        if parsed is not None:
            tracker.set_service(service.key, parsed)
    for one in cluster.slices:
        tracker.set_slice(one.key, parse_slice(one, node, Complaints(one.metadata.name)))
    return tracker


def _view(cluster: ClusterState, node: str) -> NodeView:
    for one in cluster.nodes:
        if one.metadata.name == node:
            return parse_node(one, Complaints(f"Node {node}"))
    return NodeView(node)


def _installed(frontend: Frontend, claim: FrontendClaim) -> Installed:
    forward = claim.forward
    rejects = not forward.targets and forward.refusal is RefusalAction.REJECT
    inside = forward.inside if forward.masquerade is Masquerade.THIS_NODE else None
    return Installed(
        frontend,
        _KINDS[claim.kind],
        claim.portal.name,
        even(forward.targets),
        None if rejects or inside is None else even(inside),
        None if forward.targets else forward.refusal,
        forward.affinity if forward.targets or inside else None,
        None,
        None if rejects else forward.sources,
    )
