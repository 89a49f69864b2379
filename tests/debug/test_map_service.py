"""A Service followed to its endpoints: the shares that each node's proxy gives them."""

from typing import Any

import pytest

from debug.cluster import ClusterState
from debug.map.service import MapError, ServiceMap, find, follow
from debug.map.service_text import draw
from debug.map.tracked import of_nodes
from proxy.objects.wire import EndpointSlice, Node, Service
from tests.support.debug.screen import screen

NODES = tuple(
    Node.read({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})
    for name, zone in (("node1", "a"), ("node2", "b"))
)


def endpoint(number: int, node: str, **more: Any) -> dict[str, Any]:
    return {
        "addresses": [f"10.244.{number}.2"],
        "nodeName": node,
        "targetRef": {"kind": "Pod", "name": f"web-{number}"},
        **more,
    }


def state(
    *endpoints: dict[str, Any], notes: dict[str, str] | None = None, **spec: Any
) -> ClusterState:
    service = Service.read(
        {
            "metadata": {"name": "web", "namespace": "ns", "annotations": notes or {}},
            "spec": {
                "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7"],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                **spec,
            },
        }
    )
    part = EndpointSlice.read(
        {
            "metadata": {
                "name": "web-1",
                "namespace": "ns",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    )
    return ClusterState(services=(service,), slices=(part,), nodes=NODES)


def followed(cluster: ClusterState, **more: Any) -> ServiceMap:
    return follow(cluster, find(cluster, "ns/web"), **more)


def shares(found: ServiceMap, kind: str = "shares") -> dict[str, dict[str, float]]:
    return {one.pod: getattr(one, kind) for one in found.ports[0].endpoints}


TWO = (endpoint(1, "node1"), endpoint(2, "node2"))


def test_shares_are_equal_by_themselves() -> None:
    half = {"node1": 0.5, "node2": 0.5}
    assert shares(followed(state(*TWO))) == {"web-1": half, "web-2": half}


def test_weights_and_readiness_change_shares() -> None:
    gone = endpoint(3, "node2", conditions={"ready": False, "serving": False})
    found = followed(state(*TWO, gone, notes={"proxy.podwire.dev/weights": "web-1=3"}))
    assert [one["node1"] for one in shares(found).values()] == [0.75, 0.25, 0.0]
    assert [one.state for one in found.ports[0].endpoints] == ["ready", "ready", "not ready"]
    assert found.notes == ("its endpoints have weights",)


def test_hints_keep_each_zone_to_itself() -> None:
    hinted = [
        {**one, "hints": {"forZones": [{"name": zone}]}}
        for one, zone in zip(TWO, "ab", strict=True)
    ]
    found = followed(state(*hinted))
    assert shares(found)["web-1"] == {"node1": 1.0, "node2": 0.0}
    assert found.ports[0].narrowed == ("node1", "node2")


def test_local_policies_say_who_is_refused() -> None:
    found = followed(state(TWO[0], internalTrafficPolicy="Local"))
    assert found.ports[0].refused == {"node2": "dropped"}
    assert "✗ connections from node2 are dropped" in screen(draw(found))
    nobody = followed(state()).ports[0]
    assert nobody.refused == {"node1": "rejected", "node2": "rejected"}


def test_outside_traffic_has_shares_of_its_own_under_policy_local() -> None:
    spec: dict[str, Any] = {"type": "NodePort", "externalTrafficPolicy": "Local"}
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    found = followed(state(*TWO, **spec, ports=ports))
    assert shares(found)["web-1"] == {"node1": 0.5, "node2": 0.5}
    assert shares(found, "outside")["web-1"] == {"node1": 1.0, "node2": 0.0}
    assert found.ports[0].addresses == ("10.96.0.7:80", "NODE:30080")


def test_a_machine_that_is_no_node_counts_no_connections() -> None:
    """In eBPF mode nothing else would be left: its zeros would look like an answer."""
    counted: dict[str, dict[Any, int]] = {"control": {}, "switch": {}}
    machines = ("control", "switch", "node1")
    assert of_nodes(counted, machines, ("node1",)) == {}
    assert of_nodes(counted, ("control", "switch"), ("node1",)) == counted, "by other names"


def test_connections_are_counted_by_what_was_called_and_who_answers() -> None:
    tracked = {
        "node1": {
            ("10.96.0.7:80", "10.244.1.2:8080"): 3,
            ("172.31.0.11:30080", "10.244.1.2:8080"): 1,  # another Service's
            ("10.96.0.9:80", "10.244.1.2:8080"): 1,
        }
    }
    found = followed(state(*TWO), connections=tracked)
    assert [one.connections for one in found.ports[0].endpoints] == [{"node1": 3}, {"node1": 0}]
    assert "node1 3" in screen(draw(found))


def test_a_headless_service_says_why_it_has_no_ports() -> None:
    found = followed(state(*TWO, clusterIP="None", clusterIPs=["None"]))
    assert found.ports == () and "no ClusterIP" in found.notes[0]


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(MapError, match="no Service default/web: there are ns/web"):
        find(state(), "web")
