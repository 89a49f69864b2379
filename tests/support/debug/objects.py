"""Of the cluster in tests/support/debug/cluster.py: objects of the API, and a trace."""

from typing import Any

from debug.cluster import ClusterState
from debug.trace.model import Comparison, Ends, Hop, PacketTrace, Row, Step, Trace
from proxy.objects.wire import EndpointSlice, Node, Service
from proxy.policy.wire import Pod

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
PODS = ClusterState(
    pods=tuple(
        Pod.read(
            {
                "metadata": {"name": f"web-{number}", "namespace": "default"},
                "status": {"phase": "Running", "podIPs": [{"ip": f"10.244.{number}.2"}]},
            }
        )
        for number in (1, 2)
    )
)
_CALLED = Ends("tcp", "10.244.1.2", "10.96.0.7", 40000, 80)
_REWRITTEN = Ends("tcp", "10.244.1.2", "10.244.2.2", 40000, 8080)
TRACE = Trace(
    "Pod default/web-1",
    "Service default/web:80/tcp",
    "2026-01-01T00:00:00+00:00",
    (
        PacketTrace(
            *(1, "forward", "TCP SYN", "dropped", "Node node2", "NETFILTER_DROP"),
            hops=(
                Hop("node1", "Pod default/web-1", steps=(Step("out", link="eth0", ends=_CALLED),)),
                Hop(
                    "node1",
                    "Node node1",
                    steps=(
                        Step("in", link="pod", ends=_CALLED),
                        Step(
                            "rule",
                            handle=7,
                            family="ip",
                            table="nat",
                            chain="services",
                            hook="prerouting",
                            rule="default/web:http",
                            verdict="accept",
                            ends=_REWRITTEN,
                            before=_CALLED,
                        ),
                        Step("rule", table="filter", chain="forward", verdict="accept"),
                    ),
                ),
                Hop("node2", "Node node2", steps=(Step("dropped", reason="NETFILTER_DROP"),)),
            ),
        ),
        PacketTrace(1, "reply", "<script>alert(1)</script>", "unknown"),
    ),
    comparisons=(
        Comparison(
            *("forward", 0.5, False),
            (
                Row("Pod default/web-1", "Pod default/web-1"),
                Row("Node node1", "Node node1"),
                Row("ip nat services #7 → accept", "ip nat services #7 → accept"),
                Row("Node node2", "Node node2"),
                Row("Pod default/web-2", "dropped at Node node2"),
                Row("delivered at Pod default/web-2", ""),
            ),
        ),
    ),
)
