"""Port mappings, masquerade, bandwidth, policy, tuning, ptp and loopback, with real packets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cni_plugin.runner import PYTHON_CLIENT, REFERENCE, Node, Pod
from tests.netns.conftest import Space

Spaces = Callable[[str], Space]
OUTSIDE, HOST = "192.0.2.9", "192.0.2.1"
OUTSIDE6, HOST6 = "2001:db8::9", "2001:db8::1"
_SERVER = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
listener = socket.socket(socket.AF_INET6, kind)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("::", int(sys.argv[2])))
if kind == socket.SOCK_STREAM:
    listener.listen()
print("ready", flush=True)
while True:
    if kind == socket.SOCK_DGRAM:
        data, peer = listener.recvfrom(1 << 16)
        listener.sendto((sys.argv[3] + " " + peer[0]).encode(), peer)
    else:
        connection, peer = listener.accept()
        connection.sendall((sys.argv[3] + " " + peer[0]).encode())
        connection.close()
"""
_CLIENT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
connection = socket.socket(family, kind)
connection.settimeout(1)
if len(sys.argv) > 4:
    connection.bind(("", int(sys.argv[4])))
try:
    connection.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM:
        connection.send(b"?")
    print(connection.recv(200).decode())
except OSError as err:
    print("error", err)
"""


@contextmanager
def listening(space: Space, name: str, port: int = 80, protocol: str = "tcp") -> Iterator[None]:
    """A server in a namespace that answers its name and its client's address."""
    argv = space.argv(sys.executable, "-c", _SERVER, protocol, str(port), name)
    server = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
    finally:
        server.kill()
        server.communicate()


def ask(space: Space, address: str, port: int, protocol: str = "tcp", source: int = 0) -> str:
    """What a server answers; ``error ...`` when none does."""
    argv = [sys.executable, "-c", _CLIENT, protocol, address, str(port)]
    return space.run(*argv, *([str(source)] if source else [])).strip()


@dataclass
class World:
    node: Node
    outside: Space
    pod: Callable[[], Pod]


@pytest.fixture(scope="module")
def world(spaces: Spaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A served node with an outside that knows no way to the Pods."""
    node = Node(spaces("node"), tmp_path_factory.mktemp("node"))
    outside = spaces("outside")
    node.space.veth("up0", outside, "down0")
    for space, name, four, six in (
        (node.space, "up0", HOST, HOST6), (outside, "down0", OUTSIDE, OUTSIDE6),
    ):  # fmt: skip
        space.ip("address", "add", f"{four}/24", "dev", name)
        space.ip("address", "add", f"{six}/64", "dev", name, "nodad")
    node.space.ip("route", "add", "default", "via", OUTSIDE)
    node.space.ip("-6", "route", "add", "default", "via", OUTSIDE6)

    def pod() -> Pod:
        return Pod(f"c{next(node.numbers)}", spaces("pod"))

    with node.served():
        yield World(node, outside, pod)


@pytest.fixture(autouse=True)
def nothing_is_left(world: World) -> Iterator[None]:
    yield
    tables = world.node.space.run("nft", "list", "tables")
    assert "podwire" not in tables
    assert not [name for name in world.node.links() if name.startswith("p") and name != "pw0"]
    assert world.node.reservations() == {}


def mapped(*mappings: str) -> dict:
    """``8080:80/tcp`` and the like as runtimeConfig."""
    parsed = []
    for text in mappings:
        ports, _, protocol = text.partition("/")
        *on, host, inside = ports.split("-")
        parsed.append({"hostPort": int(host), "containerPort": int(inside), "protocol": protocol})
        if on:
            parsed[-1]["hostIP"] = on[0]
    return {"portMappings": parsed}


def test_mapped_ports_lead_to_the_pod_from_everywhere(world):
    node, one, other = world.node, world.pod(), world.pod()
    dual = node.ipam("10.1.0.0/24", "fd00:1::/64")
    conf = node.conf(ipam=dual, runtimeConfig=mapped("8080-80/tcp", "5353-53/udp"))
    result = node.add(one, conf)
    node.add(other, node.conf(ipam=dual))
    own = {item["address"].partition("/")[0] for item in result["ips"]}
    gateways = {item["gateway"] for item in result["ips"]}
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        # from outside the client's address survives
        assert ask(world.outside, HOST, 8080) == f"one ::ffff:{OUTSIDE}"
        assert ask(world.outside, HOST6, 8080) == f"one {OUTSIDE6}"
        assert ask(world.outside, HOST, 5353, "udp") == f"one ::ffff:{OUTSIDE}"
        # from the host itself, its loopback, a neighbour, and the Pod itself (hairpin)
        assert ask(node.space, HOST, 8080).startswith("one ")
        assert ask(node.space, "127.0.0.1", 8080).startswith("one ")
        for gateway in gateways:
            assert ask(other.space, gateway, 8080).startswith("one ")
            assert ask(one.space, gateway, 8080).startswith("one ")
        assert ask(other.space, HOST, 5353, "udp").startswith("one ")
    assert own
    node.call("CHECK", one, conf | {"prevResult": result}).ok()
    node.space.run("nft", "flush", "map", "inet", "podwire_cni", "port_4")
    assert node.call("CHECK", one, conf | {"prevResult": result}).document["code"] == 101
    node.delete(one, conf)
    assert ask(world.outside, HOST, 8080).startswith("error")
    node.delete(other, node.conf(ipam=dual))


def test_a_mapping_for_one_host_address(world):
    node, one = world.node, world.pod()
    conf = node.conf(runtimeConfig=mapped(f"{HOST}-8081-80/tcp"))
    node.add(one, conf)
    with listening(one.space, "one"):
        assert ask(world.outside, HOST, 8081).startswith("one")
        assert ask(node.space, "127.0.0.1", 8081).startswith("error")
    node.delete(one, conf)


def test_a_taken_port_is_refused_and_a_vanished_holder_is_not_in_the_way(world):
    node, one, other = world.node, world.pod(), world.pod()
    conf = node.conf(runtimeConfig=mapped("8080-80/tcp"))
    first = node.add(one, conf)
    refused = node.call("ADD", other, conf)
    assert refused.document["code"] == 7
    assert "8080" in refused.document["msg"]
    assert len(node.reservations()) == 1
    # as after a crash of everything: the link is gone, the rules are not
    node.space.ip("link", "del", first["interfaces"][1]["name"])
    node.add(other, conf)
    with listening(other.space, "other"):
        assert ask(world.outside, HOST, 8080).startswith("other")
    node.delete(one, conf)
    with listening(other.space, "other"):
        assert ask(world.outside, HOST, 8080).startswith("other")
    node.delete(other, conf)


def test_udp_flows_follow_the_port_to_its_next_pod(world):
    node = world.node
    conf = node.conf(runtimeConfig=mapped("5353-53/udp"))
    for name in ("first", "second"):
        pod = world.pod()
        node.add(pod, conf)
        with listening(pod.space, name, 53, "udp"):
            # one flow: the same source port each time
            assert ask(world.outside, HOST, 5353, "udp", 40000).startswith(name)
        node.delete(pod, conf)


def test_masquerade_hides_pods_outside_and_only_there(world):
    node, one, other = world.node, world.pod(), world.pod()
    conf = node.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    result = node.add(one, conf)
    node.add(other, conf)
    with listening(world.outside, "outside"), listening(other.space, "other"):
        assert ask(one.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
        assert ask(one.space, OUTSIDE6, 80) == f"outside {HOST6}"
        neighbour = sorted(other.addresses())[0].partition("/")[0]
        seen = ask(one.space, neighbour, 80).removeprefix("other ").removeprefix("::ffff:")
        assert seen in {item["address"].partition("/")[0] for item in result["ips"]}
    node.delete(one, conf, netns=None)
    with listening(world.outside, "outside"):
        assert ask(other.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
    node.delete(other, conf)


def test_garbage_collection_takes_links_rules_and_addresses(world):
    node, keep, lose = world.node, world.pod(), world.pod()
    base = {"ipMasq": True, "bandwidth": None}
    limits = {"bandwidth": {"egressRate": 8_000_000, "egressBurst": 800_000}}
    kept = node.conf(**base, runtimeConfig=mapped("8080-80/tcp") | limits)
    lost = node.conf(**base, runtimeConfig=mapped("8081-80/tcp") | limits)
    before = node.add(keep, kept)
    node.add(lose, lost)
    valid = [{"containerID": keep.container_id, "ifname": "eth0"}]
    node.execute(node.conf() | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    node.call("CHECK", keep, kept | {"prevResult": before}).ok()
    assert len(node.reservations()) == 1
    assert "8081" not in node.space.run("nft", "list", "ruleset")
    assert len([name for name in node.links() if name.startswith("pi")]) == 1
    assert node.execute(node.conf(), command="GC").document["code"] == 7
    node.execute(node.conf() | {"cni.dev/valid-attachments": []}, command="GC").ok()


def test_bandwidth_is_limited_both_ways(world):
    node, one = world.node, world.pod()
    rates = {"ingressRate": 8_000_000, "ingressBurst": 800_000,
             "egressRate": 4_000_000, "egressBurst": 400_000}  # fmt: skip
    conf = node.conf(runtimeConfig={"bandwidth": rates})
    result = node.add(one, conf)
    ifb = result["interfaces"][3]["name"]
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    limits = {item["dev"]: item["options"]["rate"] for item in shown if item["kind"] == "tbf"}
    assert limits == {result["interfaces"][1]["name"]: 1_000_000, ifb: 500_000}
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    # what the Pod sends passes the device: it counts packets
    assert one.reaches("10.1.0.1")
    statistics = json.loads(node.space.ip("-s", "-j", "link", "show", "dev", ifb))[0]["stats64"]
    assert statistics["tx"]["packets"] > 0
    node.space.run("tc", "qdisc", "del", "dev", ifb, "root")
    assert node.call("CHECK", one, conf).document["code"] == 101
    node.delete(one, conf)


@pytest.mark.parametrize(("rate", "burst"), [
    (10_000_000, 2**32 - 1),  # containerd's burst: as good as none, and more ticks than fit
    (400_000_000_000, 8_000_000_000),  # more bytes per second than 32 bits count
    (80_000, 80_000),
])  # fmt: skip
def test_bandwidth_as_large_as_runtimes_ask(world, rate, burst):
    node, one = world.node, world.pod()
    rates = {"IngressRate": rate, "IngressBurst": burst}
    conf = node.conf(runtimeConfig={"bandwidth": rates})
    result = node.add(one, conf)
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    (bucket,) = (item["options"] for item in shown if item["kind"] == "tbf")
    assert bucket["rate"] == rate // 8
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    if rate == 80_000:
        assert bucket["burst"] == 10_000
    else:
        assert one.reaches("10.1.0.1", "-s1400")
    node.delete(one, conf)


@pytest.mark.parametrize("rates", [
    {"ingressRate": 1000}, {"egressBurst": 1000}, {"ingressRate": 1000, "ingressBurst": 8 << 32},
])  # fmt: skip
def test_bandwidth_that_makes_no_sense(world, rates):
    refused = world.node.call(
        "ADD", world.pod(), world.node.conf(runtimeConfig={"bandwidth": rates})
    )
    assert refused.document["code"] == 7


def test_policies_keep_bridges_and_containers_apart(world):
    node = world.node
    walled, neighbour, foreign = world.pod(), world.pod(), world.pod()
    elsewhere = node.conf(bridge="br9", name="other", ipam=node.ipam("10.9.0.0/24"))
    node.add(foreign, elsewhere)
    conf = node.conf(ingressPolicy="same-bridge")
    address = node.add(walled, conf)["ips"][0]["address"].partition("/")[0]
    node.add(neighbour, conf)
    with listening(walled.space, "walled"), listening(foreign.space, "foreign"):
        assert ask(neighbour.space, address, 80).startswith("walled")
        assert ask(foreign.space, address, 80).startswith("error")
        assert ask(node.space, address, 80).startswith("walled")
        # what it asks for itself comes back
        theirs = sorted(foreign.addresses())[0].partition("/")[0]
        assert ask(walled.space, theirs, 80).startswith("foreign")
    for each in (walled, neighbour):
        node.delete(each, conf)
    alone, other = world.pod(), world.pod()
    conf = node.conf(ingressPolicy="isolated")
    address = node.add(alone, conf)["ips"][0]["address"].partition("/")[0]
    node.add(other, conf)
    with listening(alone.space, "alone"):
        assert ask(other.space, address, 80).startswith("error")
        assert ask(node.space, address, 80).startswith("alone")
    for each in (alone, other):
        node.delete(each, conf)
    node.delete(foreign, elsewhere)


def test_tuning(world):
    node, one = world.node, world.pod()
    conf = node.conf(
        sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"},
        promisc=True, allmulti=True, txQLen=77,
    )  # fmt: skip
    result = node.add(one, conf)
    assert one.space.run("sysctl", "-n", "net.ipv4.conf.eth0.arp_filter").strip() == "1"
    link = one.link()
    assert {"PROMISC", "ALLMULTI"} <= set(link["flags"])
    assert link["txqlen"] == 77
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    one.space.sysctl("net.core.somaxconn", 501)
    assert "somaxconn" in node.call("CHECK", one, conf).document["msg"]
    node.delete(one, conf)


@pytest.mark.parametrize("key", ["kernel.hostname", "net/../kernel/hostname", "net..x", "/net/x"])
def test_sysctls_of_others_are_refused(world, key):
    refused = world.node.call("ADD", world.pod(), world.node.conf(sysctl={key: "x"}))
    assert refused.document["code"] == 7


def test_point_to_point(world):
    node, one, other = world.node, world.pod(), world.pod()
    conf = node.conf(
        mode="ptp", bridge=None, ipMasq=True, name="ptp",
        ipam=node.ipam("10.8.0.0/24", "fd00:8::/64"),
    )  # fmt: skip
    result = node.add(one, conf)
    node.add(other, conf)
    for address in other.addresses() | {"10.8.0.1", "fd00:8::1"}:
        assert one.reaches(address.partition("/")[0]), address
    assert one.reaches(OUTSIDE)
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    node.space.ip("route", "del", result["ips"][0]["address"].partition("/")[0])
    assert "no route" in node.call("CHECK", one, conf).document["msg"]
    for each in (one, other):
        node.delete(each, conf)


def test_loopback(world):
    node, one = world.node, world.pod()
    one.space.ip("link", "set", "lo", "down")
    conf = {"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}
    result = node.add(one, conf, ifname="lo")
    assert [item["address"] for item in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert one.reaches("127.0.0.1")
    node.call("CHECK", one, conf | {"cniVersion": "0.4.0", "prevResult": result}).ok()
    node.delete(one, conf, ifname="lo")
    assert "UP" not in one.link("lo")["flags"]
    assert node.call("CHECK", one, conf | {"cniVersion": "0.4.0", "prevResult": result}).code == 1
    node.delete(one, conf, ifname="lo", netns=None)


def chain(node: Node, pod: Pod, verb: str, plugins: list[tuple[Path, dict]], result: dict) -> dict:
    """Execute a chain as libcni does: results forward, DEL and its previous result backward."""
    order = plugins if verb != "DEL" else plugins[::-1]
    for program, conf in order:
        part = conf | ({"prevResult": result} if result else {})
        answer = node.execute(
            part, program, command=verb, containerid=pod.container_id,
            netns=str(pod.space.path), ifname="eth0",
        ).ok()  # fmt: skip
        if verb == "ADD":
            result = answer.document
    return result


def test_the_reference_works_behind_us(world):
    node, one = world.node, world.pod()
    base = {"cniVersion": "1.0.0", "name": "net"}
    plugins = [
        (PYTHON_CLIENT, node.conf(cniVersion="1.0.0")),
        (REFERENCE / "portmap", base | {"type": "portmap", "snat": True,
                                        "runtimeConfig": mapped("8082-80/tcp")}),
        (REFERENCE / "tuning", base | {"type": "tuning", "mac": "02:00:00:00:00:99"}),
        (REFERENCE / "firewall", base | {"type": "firewall"}),
    ]  # fmt: skip
    result = chain(node, one, "ADD", plugins, {})
    with listening(one.space, "one"):
        assert ask(world.outside, HOST, 8082).startswith("one")
    assert one.link()["address"] == "02:00:00:00:00:99"
    # 1.1.1's own portmap fails its CHECK: it looks for IPv6 rules that an IPv4 Pod has none of
    chain(node, one, "CHECK", plugins[:1], result)
    chain(node, one, "DEL", plugins, result)


def test_we_work_behind_the_reference(world):
    node, one = world.node, world.pod()
    interface = node.conf(type="bridge", cniVersion="1.0.0", name="theirs", bridge="br7",
                          ipam=node.ipam("10.7.0.0/24"))  # fmt: skip
    interface["ipam"]["type"] = "host-local"
    rates = {"ingressRate": 8_000_000, "ingressBurst": 800_000,
             "egressRate": 8_000_000, "egressBurst": 800_000}  # fmt: skip
    ours = {
        "cniVersion": "1.0.0", "name": "theirs", "type": "podwire-cni", "mode": "chained",
        "mac": "02:00:00:00:00:98", "sysctl": {"net.core.somaxconn": "600"},
        "runtimeConfig": mapped("8083-80/tcp") | {"bandwidth": rates},
    }  # fmt: skip
    plugins = [(REFERENCE / "bridge", interface), (PYTHON_CLIENT, ours)]
    result = chain(node, one, "ADD", plugins, {})
    assert one.link()["address"] == "02:00:00:00:00:98"
    with listening(one.space, "one"):
        assert ask(world.outside, HOST, 8083).startswith("one")
        assert ask(node.space, "127.0.0.1", 8083).startswith("one")
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    assert len([item for item in shown if item["kind"] == "tbf"]) == 2
    chain(node, one, "CHECK", plugins[1:], result)
    chain(node, one, "DEL", plugins, result)
