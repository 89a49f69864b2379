"""Services as nodes have them: names, and machines that are no Node."""

from ipaddress import ip_address

from debug.cluster import ClusterState
from debug.views.join import NodeState, join
from proxy.backends.installed import Installed, InstalledKind, Layer, Share
from proxy.desired.portals import Frontend
from proxy.model.values import Family, Protocol, Target
from proxy.policy.wire import Pod
from tests.support.views import STATE

POD = {
    "metadata": {"name": "web-1", "namespace": "default"},
    "spec": {"nodeName": "n1", "containers": []},
    "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.2"}, {"ip": "fd00::2"}]},
}


def test_endpoints_have_their_pods_names() -> None:
    for service, end in (("10.96.0.1", "10.244.0.2"), ("fd96::1", "fd00::2")):
        address = ip_address(service)
        frontend = Frontend(Family(address.version), address, 80, Protocol.TCP)
        shares = (Share(Target.of(ip_address(end), 8080), 1.0),)
        installed = Installed(frontend, InstalledKind.CLUSTER_IP, "default/web:http", shares)
        state = NodeState("n1", (Layer("nftables", {frontend: installed}, ()),))
        (found,) = join([state], ClusterState(pods=(Pod.read(POD),))).frontends
        (seen,) = found.nodes[0].endpoints
        assert (seen.address, seen.port, seen.owner) == (end, 8080, "Pod default/web-1")


def test_of_a_machine_without_a_node_nothing_is_called_wrong() -> None:
    """As with --here where the Node has another name: local policies would all be."""
    found = join([NodeState("stranger", (Layer("nftables", {}, ()),))], STATE)
    (node,) = found.nodes
    assert node.faults == ("the API has no Node of this name, so nobody knows what should be here",)
    assert found.frontends == ()
