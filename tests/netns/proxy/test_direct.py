"""Direct server return: the endpoint's node answers the client, without the called node."""

import ctypes
import json
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from proxy.backends.base import open_backend
from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.values import Endpoint, Family, NodeView, Port, Protocol, Service, Slice, Target
from tests.support.cni.worker import Worker
from tests.support.groups import group
from tests.support.proxy.feeder import feed, load
from tests.support.proxy.frames import datagram, ip, seldom, syn
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.prober import TCP, UDP, Answer, Probe, ask, echo, go_on, talk, traffic
from tests.support.proxy.world import DEFAULT, ENDPOINTS, NODE, PORT
from tests.support.space import Space

OTHER = NodeView("n2", addresses=(ip_address("192.168.0.2"), ip_address("fd00:1::2")))
BALANCER, EXTERNAL = ("203.0.113.7", "2001:db8:2::7"), ("198.51.100.7", "2001:db8:1::7")
CLIENT = {4: "192.168.0.9", 6: "fd00:1::9"}
HERE = {"A": "n1", "B": "n1", "C": "n2"}
GOES_ON, SENT_ON = -1, 7  # TC_ACT_UNSPEC, TC_ACT_REDIRECT
SERVICE = Service(
    ("ns", "web"),
    ports=tuple(
        Port(f"{one}-{to}", one, 80 + to - PORT) for one in Protocol for to in (8080, 8081)
    ),
    cluster_ips=(ip_address("10.96.0.7"), ip_address("fd00:10:96::7")),
    external_ips=tuple(map(ip_address, EXTERNAL)),
    load_balancer_ips=tuple(map(ip_address, BALANCER)),
)
_sources = count(30000)
_kept: list = []  # in a node's worker
_apart: list = []  # the same: whether its pins are its own


def world(names: str, node: NodeView, service: Service = SERVICE, hints: str = "") -> Desired:
    """Return a Service with the Pods ``names``, as a node sees it; ``hints`` name the Pods meant
    for n1.
    """
    tracker = Tracker(node, tuple(Family))
    tracker.set_service(service.key, service)
    for index in (0, 1):
        by_port = {
            (port.name, port.protocol): tuple(
                Endpoint(
                    Target.of(ip_address(ENDPOINTS[name][index]), int(port.name[-4:])),
                    local=HERE[name] == node.name,
                    nodes=frozenset({"n1"} if name in hints else {"n2"} if hints else ()),
                )
                for name in names
            )
            for port in service.ports
        }
        tracker.set_slice(("ns", f"web-{index}"), Slice(service.key, by_port))
    return tracker.desired()


def keep_pins_apart() -> None:
    """In a node: mount a BPF file system of its own, as every real node has."""
    if _apart:
        return
    _apart.append(True)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
    assert libc.mount(b"none", b"/", None, (1 << 18) | (1 << 14), None) == 0  # private, recursive
    assert libc.mount(b"bpf", b"/sys/fs/bpf", b"bpf", 0, None) == 0


def apply(root: str, names: str, node: NodeView, service: Service, hints: str) -> None:
    """In a node: serve the Service, with direct server return."""
    if not _kept:
        keep_pins_apart()
        options = {"cgroup-root": root, "ebpf-algorithm": "maglev", "ebpf-direct-return": ""}
        _kept.append(open_backend("ebpf", DEFAULT, options))
    _kept[0].apply(world(names, node, service, hints), node)
    assert _kept[0].disturbed([]) == ""  # as twice a second: new links get their program


class Cluster:
    """Two nodes with a proxy each. The client sends everything to the first."""

    def __init__(self, make: Callable[[str], Space], roots: tuple[str, str]) -> None:
        self.lab = ProxyLab(make)
        self.roots = roots
        self.client: Worker = self.lab.workers["outside"]
        for pod in "abc":
            self.lab.workers[pod].call(echo, 8081)
        self.first, self.second = self.lab.spaces["node"], self.lab.spaces["other"]

    def serve(self, names: str, service: Service = SERVICE, hints: str = "") -> None:
        for worker, root, node in zip(("node", "other"), self.roots, (NODE, OTHER), strict=True):
            self.lab.workers[worker].call(apply, root, names, node, service, hints)

    def answers(self, address: str, protocol: str = TCP, tries: int = 40) -> list[Answer]:
        probe = Probe(address, 80, protocol, tries=tries, timeout=60.0, strict=True)
        (found,) = self.client.call(ask, [probe])
        return found

    def forbid_answers_by_the_first(self) -> None:
        """Let the first node drop packets from a Service's address, or from the Pod C."""
        for family, service, external, pod in (
            ("ip", BALANCER[0], EXTERNAL[0], ENDPOINTS["C"][0]),
            ("ip6", BALANCER[1], EXTERNAL[1], ENDPOINTS["C"][1]),
        ):
            sources = f"{{ {service}, {external}, {pod} }}"
            self.first.run("nft", f"add table {family} wall")
            hook = "{ type filter hook prerouting priority -400; }"
            self.first.run("nft", f"add chain {family} wall in {hook}")
            self.first.run("nft", f"add rule {family} wall in {family} saddr {sources} drop")

    def allow_answers_by_the_first(self) -> None:
        for family in ("ip", "ip6"):
            self.first.run("nft", f"delete table {family} wall")

    def lay_tunnel(self) -> None:
        """Move the other node's Pods behind a VXLAN link, as in an overlay network."""
        for number, (here, there) in enumerate(((self.first, 2), (self.second, 1)), 1):
            here.ip(
                "link",
                "add",
                "vx",
                "type",
                "vxlan",
                "id",
                "7",
                "dstport",
                "4789",
                "local",
                f"192.168.0.{number}",
                "remote",
                f"192.168.0.{there}",
            )
            here.ip("link", "set", "vx", "up")
            for prefix, length in (("172.31.0.", 24), ("fd00:31::", 64)):
                address = f"{prefix}{number}/{length}"
                here.ip("address", "add", address, "dev", "vx", *["nodad"][: ":" in address])
            for pods, hop in (
                (f"10.244.{there}.0/24", f"172.31.0.{there}"),
                (f"fd00:10:244:{there}::/64", f"fd00:31::{there}"),
            ):
                here.ip("route", "replace", pods, "via", hop, "dev", "vx")


@pytest.fixture(scope="module")
def cluster(spaces: Callable[[str], Space]) -> Iterator[Cluster]:
    with group("direct-1") as one, group("direct-2") as two:
        made = Cluster(spaces, (one, two))
        yield made
        made.lab.stop()


@pytest.fixture(params=["by LAN", "by VXLAN"], scope="module")
def way(request, cluster: Cluster) -> Cluster:
    if request.param == "by VXLAN":
        cluster.lay_tunnel()
    return cluster


@pytest.mark.parametrize("address", [*BALANCER, *EXTERNAL])
def test_answers_do_not_pass_the_first_node(way: Cluster, address: str) -> None:
    way.serve("ABC")
    way.forbid_answers_by_the_first()
    try:
        for protocol in (TCP, UDP):
            answers = way.answers(address, protocol)
            assert {one.name for one in answers} == set("ABC")
            assert {one.peer for one in answers} == {CLIENT[6 if ":" in address else 4]}
    finally:
        way.allow_answers_by_the_first()


def test_an_established_connection_keeps_its_endpoint(way: Cluster) -> None:
    """So it does when the endpoint serves no new ones, and after a restart of the first proxy."""
    way.serve("C")
    for number, address in enumerate(BALANCER):
        way.client.call(talk, f"old{number}", address, 81)
    way.serve("AB")
    assert {one.name for one in way.answers(BALANCER[0])} == {"A", "B"}
    way.lab.workers["node"].call(begin_anew)
    way.serve("AB")
    for number, _ in enumerate(BALANCER):
        way.client.call(go_on, f"old{number}")
        _, faults = way.client.call(traffic, f"old{number}")
        assert not faults


def begin_anew() -> None:
    """In a node: start as a new process of the proxy does."""
    _kept.clear()


@pytest.mark.parametrize("pod", "AC")
def test_a_connection_survives_a_change_of_the_called_node(way: Cluster, pod: str) -> None:
    """Routers may send a client's packets to another node at any time."""
    way.serve(pod)
    way.client.call(talk, "moved", BALANCER[0], 81)
    for node in (2, 1, 2):
        hop = f"192.168.0.{node}"
        way.lab.spaces["outside"].ip("route", "replace", f"{BALANCER[0]}/32", "via", hop)
        assert {one.name for one in way.answers(BALANCER[0])} == {pod}
        way.client.call(go_on, "moved")
    way.lab.spaces["outside"].ip("route", "del", f"{BALANCER[0]}/32")
    _, faults = way.client.call(traffic, "moved")
    assert not faults


def call_again(address: str, source: int) -> list[str]:
    """Connect from the same port, each time as soon as the connection before has ended."""
    peers = []
    for _ in range(4):
        with socket.socket(socket.AF_INET) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source))
            sock.settimeout(60)
            sock.connect((address, 80))
            peers.append(sock.recv(100).decode())
            assert not sock.recv(100)
    return peers


@pytest.mark.parametrize("pod", "AC")
def test_a_reopened_connection_chooses_its_endpoint_again(way: Cluster, pod: str) -> None:
    way.serve(pod)
    answers = way.client.call(call_again, BALANCER[0], next(_sources))
    assert answers == [f"{pod} {CLIENT[4]}"] * 4


@pytest.mark.parametrize("why", ["a ClusterIP", "hints", "affinity"])
def test_other_services_are_masqueraded(way: Cluster, why: str) -> None:
    """Some Services stay masqueraded: nodes may choose different endpoints for them."""
    service = replace(SERVICE, affinity=60) if why == "affinity" else SERVICE
    way.serve("ABC" if why == "hints" else "C", service, "AB" if why == "hints" else "")
    answers = way.answers("10.96.0.7" if why == "a ClusterIP" else BALANCER[0])
    assert {one.name for one in answers} == ({"A", "B"} if why == "hints" else {"C"})
    assert not {one.peer for one in answers} & set(CLIENT.values())


class Fed:
    """The first node's program, fed with frames."""

    def __init__(self, cluster: Cluster) -> None:
        (link,) = json.loads(cluster.first.ip("-json", "link", "show", "eth0"))
        self.mac, self.link = link["address"], link["ifindex"]
        self.worker = Worker(cluster.first)
        self.worker.call(keep_pins_apart)
        options = EbpfOptions(cluster.roots[0], by_hash=True, direct=True)
        self.worker.call(load, options, DEFAULT, world("C", NODE), NODE.addresses)

    def feed(self, packet) -> tuple[int, Ether]:
        (done,) = self.worker.call(feed, [bytes(Ether(dst=self.mac) / packet)], self.link)
        return done[0], Ether(done[1])


@pytest.fixture(scope="module")
def fed(cluster: Cluster) -> Iterator[Fed]:
    made = Fed(cluster)
    yield made
    made.worker.stop()


@pytest.mark.parametrize("kind", [syn, datagram, lambda port: syn(port, flags="A") / b"data"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_is_sent_on_unchanged(fed: Fed, version: int, kind) -> None:
    """Only the hop limit changes, and the IPv4 header's checksum with it."""
    packet = ip(CLIENT[version], BALANCER[version == 6]) / kind(80)
    done, out = fed.feed(packet)
    assert done == SENT_ON
    if version == 6:
        packet.hlim -= 1
    else:
        packet.ttl -= 1
    assert bytes(out[IPv6 if version == 6 else IP]) == bytes(packet)


@pytest.mark.parametrize(
    "packet",
    [
        ip(CLIENT[4], BALANCER[0], ttl=1) / syn(),
        ip(CLIENT[6], BALANCER[1], hlim=1) / syn(),
        ip(CLIENT[4], BALANCER[0], frag=100, proto=17) / (b"x" * 30),
        ip("10.244.2.9", BALANCER[0]) / syn(flags="A"),  # a pod's
        ip(CLIENT[4], BALANCER[0]) / syn(82),
    ],
)
def test_packets_that_are_not_sent_on(fed: Fed, packet) -> None:
    done, out = fed.feed(packet)
    assert done == GOES_ON
    assert bytes(out.payload) == bytes(packet)


@seldom
@given(
    st.sampled_from([4, 6]),
    st.sampled_from([syn, datagram]),
    st.lists(st.tuples(st.integers(14, 59), st.integers(0, 255)), max_size=4),
)
def test_only_the_hop_limit_is_ever_changed(fed: Fed, version: int, kind, damage) -> None:
    way = (CLIENT[version], BALANCER[version == 6])
    sent = bytearray(bytes(Ether(dst=fed.mac) / ip(*way) / kind(80)))
    for at, value in damage:
        if at < len(sent):
            sent[at] = value
    ((done, out),) = fed.worker.call(feed, [bytes(sent)], fed.link)
    if done == SENT_ON:
        hops = 22 if version == 4 else 21
        sent[hops] -= 1
        if version == 4:
            sent[24:26] = out[24:26]  # the checksum: see above
    assert done in (GOES_ON, SENT_ON)
    assert out == bytes(sent)
