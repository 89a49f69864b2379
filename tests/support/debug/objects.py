"""The API's objects of the cluster in tests/support/debug/cluster.py: two nodes, one Service."""

from typing import Any

from debug.cluster import ClusterState
from proxy.objects.wire import EndpointSlice, Node, Service

_SERVICE: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    },
}
_SLICE: dict[str, Any] = {
    "metadata": {
        "name": "web-x",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {
            "addresses": [f"10.244.{number}.2"],
            "nodeName": f"node{number}",
            "targetRef": {"kind": "Pod", "name": f"web-{number}"},
        }
        for number in (1, 2)
    ],
}
STATE = ClusterState(
    services=(Service.read(_SERVICE),),
    slices=(EndpointSlice.read(_SLICE),),
    nodes=tuple(Node.read({"metadata": {"name": name}}) for name in ("node1", "node2")),
)
