"""The mesh: latency, loss and the largest packet, measured over links that are made worse."""

import itertools
from collections.abc import Callable

import pytest

from debug.kernel.echo import Echoes
from debug.map.effort import Effort
from debug.map.measure import measured
from debug.map.mesh import Mesh, Way
from debug.map.mesh_draw import draw, svg
from debug.map.probe import measure as probe
from debug.model import Level
from debug.places import inside
from debug.snapshot import take
from tests.support.debug.cluster import Spaces, cluster
from tests.support.debug.screen import screen
from tests.support.space import Space

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Spaces:
    return cluster(spaces)


def measure(lab: Spaces, patience: float = 0.2) -> dict[tuple[str, str], Way]:
    mesh = mesh_of(lab, patience)
    return {(way.source, way.destination): way for way in mesh.ways}


def mesh_of(lab: Spaces, patience: float = 0.2) -> Mesh:
    return measured(lab.ground, take(lab.ground), Effort(3, patience))


PODS = ("Pod default/web-1", "Pod default/web-2")
NODES = ("Node node1", "Node node2")


def test_every_way_passes_with_the_mtu_of_its_link(lab: Spaces) -> None:
    ways = measure(lab, patience=5)
    assert set(ways) == {PODS, PODS[::-1], NODES, NODES[::-1]}
    for way in ways.values():
        assert (way.received, way.largest, way.level) == (3, 1500, Level.OK), way
        assert way.latency and way.latency < 5000


def test_a_smaller_mtu_on_the_way_is_found_to_the_byte(lab: Spaces) -> None:
    """The switch forwards between ports: what is larger than a port's MTU is dropped in silence."""
    lab.switch.ip("link", "set", "to-node2", "mtu", "1371")
    try:
        mesh = mesh_of(lab)
    finally:
        lab.switch.ip("link", "set", "to-node2", "mtu", "1500")
    way = next(each for each in mesh.ways if (each.source, each.destination) == NODES)
    assert (way.received, way.largest, way.mtu, way.level) == (3, 1371, 1500, Level.WARN)
    assert "packets above 1371 bytes do not pass, though its link takes 1500" in screen(draw(mesh))


def test_what_does_not_answer_is_red(lab: Spaces) -> None:
    lab.switch.ip("link", "set", "to-node2", "down")
    try:
        mesh = mesh_of(lab, patience=0.05)
    finally:
        lab.switch.ip("link", "set", "to-node2", "up")
    way = next(each for each in mesh.ways if (each.source, each.destination) == NODES)
    assert way.level in (Level.FAIL, Level.UNKNOWN) and not way.received
    assert "Nodes, IPv4" in screen(draw(mesh))
    assert "no answer" in screen(draw(mesh)) and 'class="fail"' in svg(mesh)


def test_a_place_without_a_route_says_so(lab: Spaces) -> None:
    lab.pods[0].ip("route", "del", "default")
    try:
        way = measure(lab, patience=0.05)[PODS]
    finally:
        lab.pods[0].ip("route", "add", "default", "via", "10.244.1.1")
    assert (way.level, way.fault) == (Level.UNKNOWN, "Network is unreachable")


def test_a_lossy_way_is_not_taken_for_one_of_small_packets(
    lab: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four echoes are lost; of eight of a size at least one comes back."""
    count = itertools.count()
    send = Echoes.time

    def lossy(self: Echoes, size: int, patience: float) -> float | None:
        return send(self, size, 5) if next(count) % 4 == 1 else None

    monkeypatch.setattr(Echoes, "time", lossy)
    way = inside(lab.ground.node("node1"), lambda: probe(Way(*NODES, "172.31.0.12"), Effort()))
    assert (way.sent, way.received, way.largest, way.level) == (3, 1, 1500, Level.WARN)
