"""The ebpf backend's program for packets: a packet in, a flow out, and no packet changed."""

import json
import logging
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP, IPOption
from scapy.layers.inet6 import IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from proxy.backends.ebpf.mounts import remove_pins
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.ebpf.packets import remove_packet_programs
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.values import Endpoint, Family, NodeView, Port, Protocol, Service, Slice, Target
from tests.support.cni.worker import Worker
from tests.support.groups import group
from tests.support.proxy.feeder import Flow, feed, load, tracked
from tests.support.proxy.frames import datagram, ip, seldom, syn
from tests.support.proxy.world import DEFAULT
from tests.support.space import Space

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it knows no route, and needs none

GOES_ON = -1  # TC_ACT_UNSPEC: the kernel's business
NODE = NodeView("n1", addresses=(ip_address("192.168.0.1"), ip_address("fd00:1::1")))
CLIENT, CLIENT6 = "192.168.0.9", "fd00:1::9"
POD, POD6 = "10.244.1.9", "fd00:10:244:1::9"
OURS, OURS6 = "10.244.1.1", "fd00:10:244:1::1"
VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"
BALANCER = "203.0.113.10"
ENDS = {"10.244.1.2", "10.244.1.3", "fd00:10:244:1::2", "fd00:10:244:1::3"}


def service(name: str, number: int, **more) -> Service:
    return Service(
        ("ns", name),
        ports=tuple(Port(one.lower(), one, 80, 30000 + number) for one in Protocol),
        cluster_ips=(ip_address(VIP) + number, ip_address(VIP6) + number),
        load_balancer_ips=(ip_address(BALANCER) + number,),
        **more,
    )


WEB, STICKY, RANGED, EMPTY, LOCAL, FOREIGN = range(6)
OUTSIDE, OUTSIDE6 = "192.168.0.50", "fd00:1::50"  # endpoints that are no pods


def world() -> Desired:
    """Return the Services. All have the same endpoints, except one without any."""
    tracker = Tracker(NODE, tuple(Family))
    ranges = (ip_network("192.168.0.8/30"), ip_network("10.244.0.0/16"))
    for number, one in enumerate(
        (
            service("web", WEB),
            service("sticky", STICKY, affinity=60),
            service("ranged", RANGED, sources=ranges),
            service("empty", EMPTY),
            service("local", LOCAL, external_local=True),
            service("foreign", FOREIGN),
        )
    ):
        tracker.set_service(one.key, one)
        for prefix in ("10.244.1.", "fd00:10:244:1::") if number != EMPTY else ():
            hosts = [f"{prefix}{n}" for n in (2, 3)]
            if number == FOREIGN:
                hosts = [OUTSIDE6 if ":" in prefix else OUTSIDE]
            ends = tuple(Endpoint(Target.of(ip_address(host), 8080), True) for host in hosts)
            by_port = {(proto.lower(), proto): ends for proto in Protocol}
            tracker.set_slice(("ns", f"{number}-{prefix}"), Slice(one.key, by_port))
    return tracker.desired()


class Node:
    """A node with only the programs, and a link to feed."""

    def __init__(self, space: Space, root: str) -> None:
        for name, addresses in (
            ("eth0", ("192.168.0.1/24", "fd00:1::1/64")),
            ("pods", (f"{OURS}/24", f"{OURS6}/64")),
        ):
            space.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
            space.ip("link", "set", f"{name}-far", "up")
            space.ip("link", "set", name, "up")
            for one in addresses:
                space.ip("address", "add", one, "dev", name, *(["nodad"] if ":" in one else []))
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            space.sysctl(key, 1)
        (link,) = json.loads(space.ip("-json", "link", "show", "eth0"))
        self.mac, self.link = link["address"], link["ifindex"]
        self.worker = Worker(space)
        self.root = root
        self.serve(EbpfOptions(root))

    def serve(self, options: EbpfOptions) -> None:
        """Load the programs again, with other options."""
        self.worker.call(load, options, DEFAULT, world(), NODE.addresses)

    def feed(self, *frames: Packet | bytes) -> list[tuple[int, bytes]]:
        return self.worker.call(feed, [bytes(one) for one in frames], self.link)

    def flows(self, *packets: Packet) -> list[Flow]:
        """Return the flows that packets begin. No packet is changed or decided upon."""
        frames = [bytes(self.framed(one)) for one in packets]
        assert self.feed(*frames) == [(GOES_ON, frame) for frame in frames]
        return self.worker.call(tracked)

    def framed(self, packet: Packet) -> Packet:
        return packet if isinstance(packet, Ether) else Ether(dst=self.mac) / packet


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space]) -> Iterator[Node]:
    with group("feed") as root:
        made = Node(spaces("node"), root)
        yield made
        made.worker.call(remove_packet_programs)
        made.worker.call(remove_pins)
        made.worker.stop()


def after(address: str, number: int) -> str:
    """Return the address of another Service."""
    return str(ip_address(address) + number)


# From, to, port, and whom the endpoint sees.
SERVED = [
    (POD, VIP, 80, POD),
    (POD6, VIP6, 80, POD6),
    (CLIENT, VIP, 80, OURS),  # no pod: the endpoint could not answer past this node
    (CLIENT6, VIP6, 80, OURS6),
    (CLIENT, "192.168.0.1", 30000, OURS),
    (CLIENT6, "fd00:1::1", 30000, OURS6),
    (POD, "192.168.0.1", 30000, OURS),
    (CLIENT, BALANCER, 80, OURS),
    (CLIENT, after(BALANCER, LOCAL), 80, CLIENT),
    (CLIENT, "192.168.0.1", 30000 + LOCAL, CLIENT),
    (CLIENT, after(BALANCER, RANGED), 80, OURS),
    (POD, after(BALANCER, RANGED), 80, OURS),
    (POD, after(VIP, STICKY), 80, POD),
    (CLIENT, after(BALANCER, FOREIGN), 80, "192.168.0.1"),
    (POD, after(BALANCER, FOREIGN), 80, "192.168.0.1"),
    (CLIENT6, after(VIP6, FOREIGN), 80, "fd00:1::1"),
]


@pytest.mark.parametrize("kind", [syn, datagram])
@pytest.mark.parametrize(("source", "whom", "port", "seen"), SERVED)
def test_a_first_packet_adds_its_flow(node: Node, kind, source, whom, port, seen) -> None:
    (flow,) = node.flows(ip(source, whom) / kind(port))
    assert flow == Flow(source, flow.source_port, whom, port, flow.answering, 8080, seen)
    assert flow.answering in {*ENDS, OUTSIDE, OUTSIDE6}


def test_every_endpoint_gets_its_share(node: Node) -> None:
    flows = node.flows(*(ip(POD, VIP) / syn() for _ in range(200)))
    share = sum(flow.answering == "10.244.1.2" for flow in flows)
    assert len(flows) == 200
    assert 60 < share < 140


def test_an_endpoint_that_calls_its_own_service_is_masqueraded(node: Node) -> None:
    flows = node.flows(*(ip("10.244.1.2", VIP) / syn() for _ in range(30)))
    seen = {(flow.answering, flow.answers_to) for flow in flows}
    assert seen == {("10.244.1.2", OURS), ("10.244.1.3", "10.244.1.2")}


def test_affinity_holds_for_every_address_of_a_service(node: Node) -> None:
    everywhere = (
        (after(VIP, STICKY), 80),
        ("192.168.0.1", 30000 + STICKY),
        (after(BALANCER, STICKY), 80),
    )
    packets = [ip(CLIENT, whom) / syn(port) for whom, port in everywhere for _ in range(10)]
    flows = node.flows(*packets)
    assert len(flows) == 30
    assert len({flow.answering for flow in flows}) == 1
    others = node.flows(*(ip(f"10.244.1.{n}", after(VIP, STICKY)) / syn() for n in range(20, 60)))
    assert {flow.answering for flow in others} == {"10.244.1.2", "10.244.1.3"}


def test_a_tracked_flow_keeps_its_endpoint(node: Node) -> None:
    packet = ip(POD, VIP) / syn()
    assert len(node.flows(*[packet] * 20)) == 1


def test_flows_to_one_endpoint_never_share_a_port(node: Node) -> None:
    """Two clients are behind this node's address, both with the same port."""
    packets = [ip(f"192.168.0.{n}", VIP) / TCP(sport=4000, dport=80) for n in range(20, 60)]
    assert len(node.flows(*packets)) == 40


@pytest.fixture
def maglev(node: Node) -> Iterator[Node]:
    node.serve(EbpfOptions(node.root, by_hash=True))
    yield node
    node.serve(EbpfOptions(node.root))


@pytest.mark.parametrize(("source", "whom"), [(POD, VIP), (POD6, VIP6)])
def test_by_hash_a_flow_finds_its_endpoint_again(maglev: Node, source: str, whom: str) -> None:
    """Any node finds it without knowing the flow, and endpoints get their shares."""
    packets = [ip(source, whom) / syn() for _ in range(200)]
    first = {flow.source_port: flow.answering for flow in maglev.flows(*packets)}
    maglev.serve(EbpfOptions(maglev.root, by_hash=True))
    assert {flow.source_port: flow.answering for flow in maglev.flows(*packets)} == first
    assert 60 < sum(answering.endswith("2") for answering in first.values()) < 140


LEFT = {
    "no Service": lambda: ip(POD, "10.96.0.99") / syn(),
    "another port": lambda: ip(POD, VIP) / syn(81),
    "an endpoint itself": lambda: ip(POD, "10.244.1.2") / syn(8080),
    "a NodePort elsewhere": lambda: ip(POD, "10.244.1.77") / syn(30000),
    "a NodePort at loopback": lambda: ip(CLIENT, "127.0.0.1") / syn(30000),
    "nobody serves it": lambda: ip(POD, after(VIP, EMPTY)) / syn(),
    "a source that is not admitted": lambda: ip("192.168.0.77", after(BALANCER, RANGED)) / syn(),
    "a pod's call that the network may masquerade": lambda: ip(POD, after(VIP, FOREIGN)) / syn(),
    "IPv4 in IPv6's clothes": lambda: ip(f"::ffff:{POD}", f"::ffff:{VIP}") / syn(),
    "an answer": lambda: ip(POD, VIP) / syn(flags="SA"),
    "a reset": lambda: ip(POD, VIP) / syn(flags="R"),
    "the middle of a connection": lambda: ip(POD, VIP) / syn(flags="PA") / b"data",
    "SCTP": lambda: ip(POD, VIP, proto=132) / Raw(bytes([78, 32, 0, 80]) + bytes(20)),
    "a first fragment": lambda: ip(POD, VIP, flags="MF") / datagram(),
    "a later fragment": lambda: ip(POD, VIP, frag=100, proto=17) / Raw(bytes(30)),
    "a fragment of IPv6": lambda: ip(POD6, VIP6) / IPv6ExtHdrFragment(m=1) / datagram(),
    "extension headers": lambda: ip(POD6, VIP6) / IPv6ExtHdrHopByHop() / syn(),
    "an IP version that is none": lambda: ip(POD, VIP, version=5) / syn(),
    "a header that is too short": lambda: ip(POD, VIP, ihl=4) / syn(),
    "a header beyond the packet": lambda: ip(POD, VIP, ihl=15, proto=17) / Raw(bytes(8)),
    "half a TCP header": lambda: ip(POD, VIP, proto=6) / Raw(bytes(syn())[:14]),
    "half a UDP header": lambda: ip(POD, VIP, proto=17) / Raw(bytes(datagram())[:6]),
    "no IP header": lambda: Ether(type=0x88CC) / Raw(bytes(ip(POD, VIP) / syn())),
    "another machine's frame": lambda: Ether(dst="02:00:00:00:00:77") / ip(POD, VIP) / syn(),
    "a broadcast": lambda: Ether(dst="ff:ff:ff:ff:ff:ff") / ip(POD, VIP) / syn(),
    "ARP": lambda: Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=VIP),
}


@pytest.mark.parametrize("what", LEFT)
def test_packets_that_are_left_to_nftables(node: Node, what: str) -> None:
    assert not node.flows(LEFT[what]())


def test_a_vlan_is_another_link(node: Node) -> None:
    assert not node.flows(Ether(dst=node.mac) / Dot1Q(vlan=5) / ip(POD, VIP) / syn())


def test_ip_options_are_skipped(node: Node) -> None:
    option = IPOption(b"\x94\x04\x00\x00")  # router alert
    (flow,) = node.flows(ip(POD, VIP, options=[option]) / datagram())
    assert flow.answering in ENDS


def test_packets_of_an_unknown_link_are_left(node: Node) -> None:
    frame = bytes(node.framed(ip(POD, VIP) / syn()))
    loopback = 1
    assert node.worker.call(feed, [frame], loopback) == [(GOES_ON, frame)]
    assert not node.worker.call(tracked)


frames = st.binary(min_size=14, max_size=200)


@seldom
@given(frames)
def test_noise_passes_unchanged(node: Node, frame: bytes) -> None:
    assert node.feed(frame) == [(GOES_ON, frame)]


@seldom
@given(
    st.sampled_from([(POD, VIP), (POD6, VIP6), (CLIENT, BALANCER)]),
    st.sampled_from([syn, datagram]),
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 255)), max_size=4),
    st.integers(54, 100),  # the kernel feeds no packet without its IP header
)
def test_nearly_right_packets(node: Node, way, kind, damage, length) -> None:
    """A damaged or incomplete packet is not changed, and flows lead only to endpoints."""
    frame = bytearray(bytes(node.framed(ip(*way) / kind())))
    for at, value in damage:
        if at < len(frame):
            frame[at] = value
    sent = bytes(frame[:length])
    assert node.feed(sent) == [(GOES_ON, sent)]
    assert {flow.answering for flow in node.worker.call(tracked)} <= {*ENDS, OUTSIDE, OUTSIDE6}
