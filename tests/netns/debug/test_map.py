"""The map of namespaces: what joins them, and that what is broken turns red."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from debug.cluster import ClusterState
from debug.map import text
from debug.map.graph import Cable, CableKind, Graph, Spot
from debug.map.svg import svg
from debug.map.topology import topology
from debug.model import Finding, Level
from debug.snapshot import Snapshot, take
from proxy.objects.wire import Node
from tests.support.debug.cluster import Spaces, cluster
from tests.support.debug.screen import screen
from tests.support.space import Space

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Spaces:
    return cluster(spaces)


def ends(graph: Graph, kind: CableKind) -> set[tuple[str, ...]]:
    return {
        tuple(sorted((f"{c.a.place} {c.a.device}", f"{c.b.place} {c.b.device}")))
        for c in graph.cables
        if c.kind is kind
    }


def spot(graph: Graph, name: str) -> Spot:
    return next(one for one in graph.places if one.id == name)


def joining(graph: Graph, one: str, other: str, kind: CableKind) -> Cable:
    return next(
        c for c in graph.cables if c.kind is kind and {c.a.place, c.b.place} == {one, other}
    )


def drawn(graph: Graph) -> str:
    return screen(text.draw(graph))


@contextmanager
def broken(space: Space, *line: str, mend: str) -> Iterator[None]:
    space.ip(*line)
    try:
        yield
    finally:
        space.ip(*mend.split())


def test_every_pair_tunnel_and_route_joins_its_two_ends(lab: Spaces) -> None:
    graph = topology(take(lab.ground))
    assert ends(graph, CableKind.VETH) == {
        ("Node node1 eth0", "Switch to-node1"),
        ("Node node2 eth0", "Switch to-node2"),
        ("Node node1 pod", "Pod default/web-1 eth0"),
        ("Node node2 pod", "Pod default/web-2 eth0"),
    }
    assert ends(graph, CableKind.TUNNEL) == {("Node node1 tun", "Node node2 tun")}
    (way,) = (cable for cable in graph.cables if cable.kind is CableKind.ROUTE)
    assert {way.a.place, way.b.place} == {"Node node1", "Node node2"}
    assert way.label in ("10.244.2.0/24, 10.244.1.0/24", "10.244.1.0/24, 10.244.2.0/24")
    assert {device.name: device.bridge for device in spot(graph, "Switch").devices} == {
        **{"br0": "", "to-node1": "br0", "to-node2": "br0"}
    }
    assert graph.level is Level.OK, drawn(graph)


def test_a_link_that_is_down_is_red_on_both_ends(lab: Spaces) -> None:
    with broken(lab.switch, "link", "set", "to-node1", "down", mend="link set to-node1 up"):
        graph = topology(take(lab.ground))
    assert joining(graph, "Switch", "Node node1", CableKind.VETH).level is Level.FAIL
    assert joining(graph, "Switch", "Node node2", CableKind.VETH).level is Level.OK
    assert spot(graph, "Pod default/web-1").level is Level.OK
    shown = drawn(graph)
    assert "✗ Switch: to-node1 is down" in shown
    assert "✗ Node node1: eth0 has no carrier" in shown


def test_an_address_of_two_pods_is_red(lab: Spaces) -> None:
    add, mend = ("addr", "add", "10.244.1.2/32", "dev", "eth0"), "addr del 10.244.1.2/32 dev eth0"
    with broken(lab.pods[1], *add, mend=mend):
        graph = topology(take(lab.ground))
    (device,) = spot(graph, "Pod default/web-2").devices
    assert device.why == ("10.244.1.2 is also of Pod default/web-1",)
    assert spot(graph, "Pod default/web-1").level is Level.FAIL


def test_a_tunnel_without_a_way_back_is_marked(lab: Spaces) -> None:
    entry = ("00:00:00:00:00:00", "dev", "tun", "dst", "172.31.0.11")
    lab.nodes[1].run("bridge", "fdb", "del", *entry)
    try:
        graph = topology(take(lab.ground))
    finally:
        lab.nodes[1].run("bridge", "fdb", "append", *entry)
    tunnel = joining(graph, "Node node1", "Node node2", CableKind.TUNNEL)
    assert (tunnel.level, tunnel.why) == (Level.WARN, ("Node node2 has no way back to Node node1",))


def test_findings_color_what_they_are_about(lab: Spaces) -> None:
    findings = (
        Finding("mtu", Level.FAIL, "it is too large", node="node1", about="link tun"),
        Finding("dns", Level.WARN, "it is slow", node="node2", about="Pod default/web-2"),
        Finding("forwarding", Level.OK, "it is on", node="node2"),
    )
    graph = topology(take(lab.ground), findings)
    assert joining(graph, "Node node1", "Node node2", CableKind.TUNNEL).level is Level.FAIL
    assert spot(graph, "Pod default/web-2").why == ("it is slow",)
    assert spot(graph, "Node node2").level is Level.OK
    assert "✗ Node node1: tun it is too large" in drawn(graph)


def test_a_cable_to_what_was_not_read_is_none(lab: Spaces) -> None:
    """No other device is taken for its end, though indexes are alike in many namespaces."""
    taken = take(lab.ground)
    for left_out in range(len(taken.spaces)):
        spaces = tuple(one for number, one in enumerate(taken.spaces) if number != left_out)
        whole, part = (
            ends(topology(Snapshot("", None, some)), CableKind.VETH)
            for some in (taken.spaces, spaces)
        )
        assert part < whole


def test_a_node_of_a_lab_whose_machine_does_not_run_is_drawn(lab: Spaces) -> None:
    def node(name: str, **labels: str) -> Node:
        return Node.read({"metadata": {"name": name, "labels": labels}})

    hollow = node("hollow-1", **{"podwire.io/hollow": "true"})
    nodes = ClusterState(nodes=(node("node1"), node("node3"), hollow))
    snapshot = structs.replace(take(lab.ground), cluster=nodes)
    graph = topology(snapshot)
    assert {one.id for one in graph.places if one.id.startswith("Node ")} == {
        *("Node node1", "Node node2", "Node node3")
    }
    assert spot(graph, "Node node3").level is Level.WARN
    assert "Node node3: its machine does not run" in drawn(graph)
    assert "Node node3: its machine does not run" in svg(graph)
    here = structs.replace(snapshot, spaces=snapshot.spaces[1:2])
    assert [one.id for one in topology(here).places] == ["Node node1"], "others are elsewhere"
