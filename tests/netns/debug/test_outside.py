"""What is explained of packets that come from outside of the nodes, and that go there."""

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from debug.cluster import ClusterState
from debug.explain.cli import main
from debug.explain.commands import explained
from debug.explain.result import Explanation, ends, every_hop
from debug.places import Ground, Place, entered
from debug.trace.ends import EndError, called_from_outside, find_target, parse_end
from proxy.objects.wire import Node, Service
from tests.support.debug.cluster import Spaces, cluster
from tests.support.space import Space

POD = "10.244.1.2"
RULES = f"""table ip services {{
  chain in {{
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 30080 meta mark set 1 dnat to {POD}:8080
    ip daddr 172.31.0.200 tcp dport 80 ip saddr 198.51.100.0/24 dnat to {POD}:8080
  }}
  chain out {{
    type nat hook postrouting priority srcnat
    meta mark 1 masquerade
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
  }}
}}"""
DEFAULTS: dict[str, Any] = {
    **{"namespace": "default", "source_port": 40000, "source_address": None, "mark": 0},
    **{"most": 16, "no_reply": False, "new": False},
}


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Spaces:
    """A lab's network: the switch has an address, which is the nodes' default route."""
    made = cluster(spaces)
    made.switch.ip_batch("addr add 172.31.0.1/24 dev br0")
    for node in made.nodes:
        node.ip_batch("route add default via 172.31.0.1")
        node.run("nft", "-f", "-", stdin=RULES)
    return made


@pytest.fixture(scope="module")
def alone(spaces: Callable[[str], Space]) -> Ground:
    """A node of somebody's, with an uplink to where nobody can look."""
    node, world = spaces("alone"), spaces("world")
    node.veth("up0", world, "eth0")
    node.ip_batch("addr add 203.0.113.2/24 dev up0", "route add default via 203.0.113.1")
    node.sysctl("net.ipv4.ip_forward", 1)
    return Ground((Place("alone", os.getpid(), str(node.path)),))


def explain(ground: Ground, source: str, to: str, **options: Any) -> Explanation:
    return explained(ground, source, to, DEFAULTS | options)


def arrivals(found: Explanation) -> list[tuple[str, str, str, str]]:
    """Where the packet ends, and where its answer does."""
    return [
        (one.end, one.at, back.end, back.at)
        for one in ends(found.way)
        for back in (ends(one.reply) if one.reply else [one])
    ]


def test_a_node_port_is_called_from_a_labs_switch(lab: Spaces) -> None:
    """Explained as it is: the Pod sees the node, the switch the port that it called."""
    found = explain(lab.ground, "outside", "172.31.0.11:30080")
    assert arrivals(found) == [("delivered", "Pod default/web-1", "delivered", "Node switch")]
    places = {place.name: place for place in lab.ground.places}
    with entered(places["Pod default/web-1"]):
        server = socket.create_server((POD, 8080))
    with server, entered(places["Node switch"]):
        client = socket.create_connection(("172.31.0.11", 30080), timeout=60)
        with client:
            accepted, peer = server.accept()
            accepted.close()
    told = {hop.packet for hop in every_hop(found.way)}
    assert f"tcp {peer[0]}:40000 > {POD}:8080" in told


def test_a_pod_calls_the_world_as_its_node(lab: Spaces) -> None:
    found = explain(lab.ground, "web-2", "outside:443")
    assert arrivals(found) == [("delivered", "Node switch", "delivered", "Pod default/web-2")]
    assert "tcp 172.31.0.12:40000 > 172.31.0.1:443" in {h.packet for h in every_hop(found.way)}


@pytest.mark.parametrize(("source", "ends_at"), [("198.51.100.9", "delivered"), (None, "lost")])
def test_a_source_address_decides_about_source_ranges(
    lab: Spaces, source: str | None, ends_at: str
) -> None:
    """The address of a balancer leads to who answered for it last."""
    lab.switch.ip_batch(f"neigh replace 172.31.0.200 lladdr {mac(lab.nodes[0])} dev br0")
    found = explain(lab.ground, "outside", "172.31.0.200:80", source_address=source)
    got = arrivals(found)
    assert {one[0] for one in got} == {ends_at}
    if source:
        assert got == [("delivered", "Pod default/web-1", "delivered", "outside")]


def mac(node: Space) -> str:
    (link,) = json.loads(node.run("ip", "-j", "link", "show", "eth0"))
    return str(link["address"])


def test_what_comes_from_outside_comes_by_the_default_routes_link(alone: Ground) -> None:
    found = explain(alone, "outside", "203.0.113.2:22")
    assert arrivals(found) == [("delivered", "Node alone", "delivered", "outside")]
    assert found.source == "outside"
    found = explain(alone, "alone", "outside/icmp")
    assert arrivals(found) == [("delivered", "outside", "delivered", "Node alone")]


def test_nobody_else_may_send_from_a_nodes_own_address(lab: Spaces) -> None:
    found = explain(lab.ground, "outside", "172.31.0.12:22", source_address="172.31.0.12")
    (end,) = ends(found.way)
    assert (end.end, end.at) == ("dropped", "Node node2")
    assert end.why == "it comes by eth0 with the source 172.31.0.12, which is its own (martian)"


def test_a_source_address_is_only_of_what_comes_from_outside(lab: Spaces, alone: Ground) -> None:
    with pytest.raises(EndError, match="comes from outside"):
        explain(lab.ground, "web-1", POD, source_address="198.51.100.9")
    with pytest.raises(EndError, match="has no address of the family"):
        explain(alone, "outside", "203.0.113.2", source_address="2001:db8::7")
    done = CliRunner().invoke(main, ["--source-address", "home", "outside", "web"])
    assert done.exit_code == 2 and "does not appear to be" in done.output
    done = CliRunner().invoke(main, ["--source-address", "fe80::1%eth0", "outside", "web"])
    assert done.exit_code == 2 and "a packet has none" in done.output


SERVICE = {
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {"clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "nodePort": 30080}]},
}


@pytest.mark.parametrize(
    ("status", "called"),
    [({}, ("172.31.0.11", 30080)), ({"ingress": [{"ip": "172.31.0.200"}]}, ("172.31.0.200", 80))],
)
def test_a_service_is_called_where_it_is_offered(status: object, called: tuple[str, int]) -> None:
    service = Service.read({**SERVICE, "status": {"loadBalancer": status}})
    node = {"addresses": [{"type": "InternalIP", "address": "172.31.0.11"}]}
    named = Node.read({"metadata": {"name": "node1"}, "status": node})
    state, end = ClusterState(services=(service,), nodes=(named,)), parse_end("service/web")
    found = called_from_outside(end, find_target(end, state), state)
    assert (found.addresses[0], found.port) == called
