"""What is read of a network namespace, and which namespaces are found."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from debug import places
from debug.kernel.read import read_numbers, read_space
from debug.kernel.values import SpaceState
from debug.places import Ground, Place, PlaceError, inside
from debug.snapshot import take
from tests.support.space import Space

pytestmark = pytest.mark.netns


def place(space: Space, pod: tuple[str, str] | None = None) -> Place:
    return Place("n", os.getpid(), str(space.path), pod)


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space]) -> Space:
    """A node with a bridge, a Pod on it, and a tunnel."""
    node, pod = spaces("node"), spaces("pod")
    node.veth("pod1", pod, "eth0")
    node.ip_batch(
        "link add br0 type bridge",
        "link set br0 up",
        "link set pod1 master br0",
        "link set pod1 type bridge_slave hairpin on",
        "addr add 10.1.0.1/24 dev br0",
        "link add tun type vxlan id 77 dstport 4790 local 10.1.0.1 dev br0",
        "neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev br0 nud permanent",
        "route add 10.2.0.0/16 via 10.1.0.9 mtu 1400 table 7",
        "route add blackhole 10.3.0.0/16",
        "route add 10.4.0.0/16 nexthop via 10.1.0.9 nexthop via 10.1.0.8",
        "rule add from 10.1.0.0/24 table 7 priority 99",
    )
    node.run("bridge", "fdb", "append", "02:00:00:00:00:07", "dev", "tun", "dst", "10.1.0.9")
    node.sysctl("net.ipv4.ip_forward", 1)
    node.sysctl("net.ipv4.conf.br0.rp_filter", 1)
    return node


@pytest.fixture(scope="module")
def state(node: Space) -> SpaceState:
    return inside(place(node), read_space)


def test_a_namespace_that_has_just_ended_has_no_number(node: Space, tmp_path: Path) -> None:
    (left := tmp_path / "left").touch()  # a mount is gone before the file below it
    gone = [str(left), str(tmp_path / "gone")]
    assert inside(place(node), lambda: read_numbers(gone)) == {}


def test_a_link_may_have_any_name(spaces: Callable[[str], Space]) -> None:
    """Whoever may make a link in a Pod may choose bytes that are no text."""
    pod = spaces("named")
    pod.run("ip", "link", "add", os.fsdecode(b"\xffx"), "type", "bridge")
    state = inside(place(pod), read_space)
    assert [link.name for link in state.links] == ["lo", "\ufffdx"]


def test_links_say_what_they_are(state: SpaceState) -> None:
    bridge, port, tunnel = (state.named(name) for name in ("br0", "pod1", "tun"))
    assert bridge and port and tunnel
    assert (bridge.kind, port.kind, tunnel.kind) == ("bridge", "veth", "vxlan")
    assert (port.master, port.hairpin, port.up) == (bridge.index, True, True)
    assert port.peer and port.peer_netns >= 0, "the other end is in another namespace"
    assert (tunnel.vni, tunnel.port, tunnel.local) == (77, 4790, "10.1.0.1")
    assert state.link(port.index) == port


def test_routes_neighbors_and_forwarding_are_read(state: SpaceState) -> None:
    routes = {(route.destination, route.table): route for route in state.routes}
    assert routes["10.2.0.0/16", 7].gateway == "10.1.0.9"
    assert routes["10.2.0.0/16", 7].mtu == 1400
    assert routes["10.3.0.0/16", 254].kind == "blackhole"
    paths = {route.gateway for route in state.routes if route.destination == "10.4.0.0/16"}
    assert paths == {"10.1.0.9", "10.1.0.8"}
    assert ("10.1.0.9", "permanent") in {(one.ip, one.state) for one in state.neighbors}
    assert ("02:00:00:00:00:07", "10.1.0.9") in {(f.mac, f.destination) for f in state.forwarding}
    assert (99, 7, "10.1.0.0/24") in {(r.priority, r.table, r.source) for r in state.rules}
    assert "10.1.0.1/24" in {address.ip for address in state.addresses}


def test_settings_and_counters_are_of_the_namespace(state: SpaceState) -> None:
    assert state.sysctls["net/ipv4/ip_forward"] == "1"
    assert state.sysctls["net/ipv4/conf/br0/rp_filter"] == "1"
    assert state.counters["Ip/Forwarding"] == 1
    assert "Udp/InErrors" in state.counters and "TcpExt/ListenDrops" in state.counters


def test_pods_are_found_by_the_runtimes_cache(
    node: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "var/lib/cni/results"
    results.mkdir(parents=True)

    def cache(name: str, netns: str, *words: object) -> None:
        (results / name).write_text(json.dumps({"netns": netns, "cniArgs": [*words]}))

    monkeypatch.setattr(Place, "root", property(lambda _: tmp_path))
    (tmp_path / "netns").touch()
    words = (["K8S_POD_NAMESPACE", "ns"], ["K8S_POD_NAME", "web"])
    cache("gone", "/run/netns/gone", *words)
    cache("file", "/netns", *words)
    cache("nameless", "/netns")
    cache("outside", "/../etc/passwd", *words)
    (results / "torn").write_text("{")
    (tmp_path / "mounted").symlink_to(node.path)
    cache("good", "/mounted", *words)
    cache("twice", "/mounted", *words)
    (found,) = places._pods(Place("n", os.getpid(), "/proc/self/ns/net"))
    assert (found.pod, found.name) == (("ns", "web"), "Pod ns/web")


def test_a_place_that_is_gone_spoils_no_other(node: Space) -> None:
    gone = Place("n", os.getpid(), "/run/netns/gone", ("ns", "gone"))
    taken = take(Ground((place(node), gone)))
    assert [one.pod for one in taken.spaces] == [None]
    assert len(taken.unread) == 1 and "Pod ns/gone: its network is gone" in taken.unread[0]
    with pytest.raises(PlaceError, match="no node x can be entered"):
        Ground((place(node),)).node("x")
