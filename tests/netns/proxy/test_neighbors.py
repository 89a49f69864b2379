"""Frames between two Pods of one bridge, which no rule sees: a Service's answers are routed."""

import contextlib
import ctypes
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from proxy.backends.base import BACKENDS, open_backend
from proxy.backends.ebpf.packets import remove_packet_programs
from proxy.desired.tracker import Tracker
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.groups import group
from tests.support.proxy import feeder
from tests.support.proxy.frames import ip
from tests.support.proxy.lab import ProxyLab, call_filter
from tests.support.proxy.prober import TCP as STREAM
from tests.support.proxy.prober import Probe, ask
from tests.support.proxy.world import DEFAULT, NODE, PORT
from tests.support.space import Space

VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"
CLIENT, CLIENT6 = "10.244.1.9", "fd00:10:244:1::9"
END, END6 = "10.244.1.2", "fd00:10:244:1::2"
KEY = ("ns", "web")
DEAF, MIRROR = 81, 82  # the Service's ports where nobody listens, and where what comes is sent back
LONG = 4000  # bytes: three fragments
ELSEWHERE = "02:00:00:00:00:77"  # the MAC address of a neighbor
_kept: list = []  # in the node's worker: the backend
_root: list[str] = []  # likewise: the cgroup


def serve(root: str = "") -> None:
    """In the node: serve the Service with the Pod ``a``, in a cgroup, or in the one before."""
    _root[:] = [root or _root[0]]
    ports = {80: PORT, DEAF: 9999, MIRROR: 8082}
    tracker = Tracker(NODE, tuple(Family))
    tracker.set_service(
        KEY,
        Service(
            KEY,
            ports=tuple(
                Port(f"{one}-{number}", one, number) for one in Protocol for number in ports
            ),
            cluster_ips=(ip_address(VIP), ip_address(VIP6)),
        ),
    )
    for address in (END, END6):
        by_port = {
            (f"{one}-{number}", one): (Endpoint(Target.of(ip_address(address), to), local=True),)
            for one in Protocol
            for number, to in ports.items()
        }
        tracker.set_slice(("ns", address), Slice(KEY, by_port))
    _kept[:] = [open_backend("ebpf", DEFAULT, {"cgroup-root": _root[0]})]
    _kept[0].apply(tracker.desired(), NODE)
    feeder.adopt(_kept[0]._packets)


def look() -> str:
    """In the node: check as the proxy does twice a second."""
    return _kept[0].disturbed([])


def remove() -> None:
    _kept.clear()
    for mode in BACKENDS:
        open_backend(mode, DEFAULT, {}).remove()


def mirror(port: int) -> None:
    """In a Pod: send back each datagram, in the background."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))

    def run() -> None:
        while True:
            data, peer = sock.recvfrom(1 << 16)
            with contextlib.suppress(OSError):
                sock.sendto(data, peer)

    threading.Thread(target=run, daemon=True).start()


def send_and_receive(address: str, port: int, size: int) -> int:
    """In a Pod: send a datagram from a connected socket, again if it is lost; return the answer's
    length, -1 for a refusal.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.connect((address, port))
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                try:
                    sock.send(bytes(size))
                    return len(sock.recv(1 << 16))
                except ConnectionRefusedError:
                    return -1
    raise AssertionError(f"no answer from {address}:{port}")


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Iterator[ProxyLab]:
    """Nobody is in the cgroup that is served, so hooks see no call."""
    with group("neighbors") as empty:
        made = ProxyLab(spaces)
        made.workers["a"].call(mirror, 8082)
        made.workers["node"].call(serve, empty)
        yield made
        made.workers["node"].call(remove)
        made.stop()


@pytest.fixture(params=[False, True], ids=["bridged", "filtered"])
def node(lab: ProxyLab, request: pytest.FixtureRequest) -> Iterator[Space]:
    """The node, whose bridges all pass their frames to its rules, or do not."""
    call_filter(lab.spaces["node"], request.param)
    yield lab.spaces["node"]
    call_filter(lab.spaces["node"], False)


@pytest.mark.parametrize("address", [VIP, VIP6])
@pytest.mark.parametrize(("port", "size", "back"), [(MIRROR, LONG, LONG), (DEAF, 1, -1)])
def test_fragments_and_errors_come_from_the_service(
    node: Space, lab: ProxyLab, address: str, port: int, size: int, back: int
) -> None:
    """A socket takes only what its peer sent, or what an error says of it."""
    assert lab.workers["p"].call(send_and_receive, address, port, size) == back


def tracked(node: Space, *what: str) -> str:
    return node.run("conntrack", "-L", *what)


@pytest.mark.parametrize(("address", "family"), [(END, "ipv4"), (END6, "ipv6")])
def test_a_direct_connection_is_neither_routed_nor_tracked(
    lab: ProxyLab, address: str, family: str
) -> None:
    call_filter(lab.spaces["node"], False)
    (answers,) = lab.workers["p"].call(ask, [Probe(address, PORT, STREAM, timeout=60)])
    assert [one.name for one in answers] == ["A"]
    assert not tracked(lab.spaces["node"], "-f", family, "-p", "tcp", "--orig-dst", address)


def links(space: Space) -> dict[str, dict]:
    return {one["ifname"]: one for one in json.loads(space.ip("-json", "link", "show"))}


@pytest.fixture
def begun(lab: ProxyLab) -> Iterator[Callable[[str, type], tuple[str, str, int]]]:
    """A function that lets the client begin a flow to the Service, by a frame; returns the
    addresses of client and endpoint, and the client's port.
    """
    node, space = lab.workers["node"], lab.spaces["node"]
    ports = iter(range(30000, 31000))

    def begin(whom: str, kind: type) -> tuple[str, str, int]:
        client, end = (CLIENT6, END6) if ":" in whom else (CLIENT, END)
        found, port = links(space), next(ports)
        syn = {"flags": "S"} if kind is TCP else {}
        packet = ip(client, whom) / kind(sport=port, dport=80, **syn)
        frame = Ether(dst=found["podwire0"]["address"]) / packet
        assert node.call(feeder.feed, [bytes(frame)], found["vethp"]["ifindex"]) == [
            (-1, bytes(frame))
        ]
        return client, end, port

    yield begin
    node.call(feeder.tracked)


def routed(lab: ProxyLab, packet: Packet, to: str = ELSEWHERE) -> bool:
    """Whether the node takes a frame from the endpoint. Nothing else of the frame may change."""
    port = links(lab.spaces["node"])["vetha"]
    frame = bytes(Ether(dst=to) / packet)
    own = bytes.fromhex(port["address"].replace(":", ""))
    ((result, got),) = lab.workers["node"].call(feeder.feed, [frame], port["ifindex"])
    assert result == -1
    assert got in (frame, own + frame[6:])
    return got != frame


@pytest.mark.parametrize("whom", [VIP, VIP6])
@pytest.mark.parametrize("kind", [TCP, UDP])
def test_frames_of_a_translated_flow_are_routed(lab: ProxyLab, begun, whom: str, kind) -> None:
    client, end, port = begun(whom, kind)
    flags = {"flags": "SA"} if kind is TCP else {}
    answer = ip(end, client) / kind(sport=PORT, dport=port, **flags)
    assert routed(lab, answer)
    assert not routed(lab, ip(end, client) / kind(sport=PORT, dport=port + 1, **flags))
    bridge = links(lab.spaces["node"])["podwire0"]["address"]
    assert not routed(lab, answer, bridge)  # it is the node's already
    assert not routed(lab, answer, "ff:ff:ff:ff:ff:ff")


def unreachable(packet: Packet) -> Packet:
    """An error about a packet that came, from its destination."""
    if packet.version == 4:
        return ip(packet.dst, packet.src) / ICMP(type=3, code=3) / packet
    return ip(packet.dst, packet.src) / ICMPv6DestUnreach(code=4) / packet


@pytest.mark.parametrize("whom", [VIP, VIP6])
@pytest.mark.parametrize("kind", [TCP, UDP])
def test_errors_about_a_translated_flow_are_routed(lab: ProxyLab, begun, whom: str, kind) -> None:
    client, end, port = begun(whom, kind)
    assert routed(lab, unreachable(ip(client, end) / kind(sport=port, dport=PORT)))
    assert not routed(lab, unreachable(ip(client, end) / kind(sport=port + 1, dport=PORT)))


@pytest.mark.parametrize("whom", [VIP, VIP6])
@pytest.mark.parametrize("kind", [TCP, UDP])
def test_a_direct_flow_with_the_same_ports_is_routed(lab: ProxyLab, begun, whom, kind) -> None:
    """Its answers look like the translated flow's; connection tracking keeps the two apart."""
    client, end, port = begun(whom, kind)
    assert routed(lab, ip(client, end) / kind(sport=port, dport=PORT))
    assert not routed(lab, ip(client, end) / kind(sport=port + 1, dport=PORT))


OPAQUE = {
    "a first fragment": lambda: ip(END, CLIENT, flags="MF") / UDP(sport=PORT, dport=1) / b"?",
    "a later fragment": lambda: ip(END, CLIENT, frag=100, proto=17) / Raw(bytes(30)),
    "a fragment of IPv6": lambda: ip(END6, CLIENT6) / IPv6ExtHdrFragment(m=1) / Raw(bytes(30)),
    "SCTP": lambda: ip(END, CLIENT, proto=132) / Raw(bytes(24)),
    "SCTP over IPv6": lambda: ip(END6, CLIENT6, nh=132) / Raw(bytes(24)),
}
LEFT = {
    "ICMP echo": lambda: ip(END, CLIENT) / ICMP(),
    "half an error": lambda: ip(END, CLIENT) / ICMP(type=3, code=3) / Raw(bytes(12)),
    "an error in an error": lambda: unreachable(unreachable(ip(CLIENT, END) / UDP())),
    "another protocol": lambda: ip(END, CLIENT, proto=89) / Raw(bytes(24)),
    "half a TCP header": lambda: ip(END, CLIENT, proto=6) / Raw(bytes(10)),
    "ARP": lambda: ARP(pdst=CLIENT),
    "no known protocol": lambda: Raw(bytes(40)),
}


@pytest.mark.parametrize("what", OPAQUE)
def test_what_the_program_cannot_look_up_is_routed(lab: ProxyLab, what: str) -> None:
    assert routed(lab, OPAQUE[what]())


@pytest.mark.parametrize("what", LEFT)
def test_all_else_stays_on_the_bridge(lab: ProxyLab, what: str) -> None:
    assert not routed(lab, LEFT[what]())


def reaches(lab: ProxyLab) -> bool:
    """Whether the client gets an answer of the Service over its bridge."""
    return all(lab.workers["p"].call(send_and_receive, one, MIRROR, 1) == 1 for one in (VIP, VIP6))


def forget_neighbors(lab: ProxyLab) -> None:
    for name in ("a", "b", "p"):
        lab.spaces[name].ip("neighbor", "flush", "dev", "eth0")


def test_a_bridge_may_change_its_mac_address(lab: ProxyLab) -> None:
    """Answers are routed at once, before anybody has noticed."""
    space = lab.spaces["node"]
    before = links(space)["podwire0"]["address"]
    for mac in ("02:00:00:00:00:aa", before):
        space.ip("link", "set", "podwire0", "address", mac)
        forget_neighbors(lab)
        assert reaches(lab)
        assert lab.workers["node"].call(look) == ""
        assert reaches(lab)


def test_ports_may_go_to_another_bridge(lab: ProxyLab) -> None:
    space, node = lab.spaces["node"], lab.workers["node"]
    for name in ("other0", "podwire0"):
        if name not in links(space):
            space.ip("link", "add", name, "type", "bridge")
        space.ip("link", "set", name, "up")
        old = {"other0": "podwire0", "podwire0": "other0"}[name]
        for address in ("10.244.1.1/24", "fd00:10:244:1::1/64"):
            space.ip("address", "del", address, "dev", old)
            space.ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        for pod in "abp":
            space.ip("link", "set", f"veth{pod}", "master", name)
            space.ip("link", "set", f"veth{pod}", "type", "bridge_slave", "hairpin", "on")
        forget_neighbors(lab)
        assert node.call(look) == ""
        assert reaches(lab)
    space.ip("link", "del", "other0")


_foreign: list[int] = []  # in the node's worker: descriptors of another's program


def come_before(link: int) -> bool:
    """In the node: before our program comes, attach one to a link that lets each packet in and asks
    no later one. False if the kernel has no TCX.
    """
    library = _kept[0]._packets.library
    remove_packet_programs()
    code = (ctypes.c_uint64 * 2)(0xB7, 0x95)  # r0 = TC_ACT_OK; exit
    program = library.bpf.bpf_prog_load(3, b"ends", b"GPL", code, ctypes.c_size_t(2), None)
    library.check(program, "loading")
    made = library.bpf.bpf_link_create(program, link, 46, None)
    _foreign[:] = [one for one in (program, made) if one >= 0]
    return made >= 0


def go_away() -> None:
    while _foreign:
        os.close(_foreign.pop())


def test_a_program_that_was_there_before_takes_no_packets(lab: ProxyLab) -> None:
    node = lab.workers["node"]
    is_first = node.call(come_before, links(lab.spaces["node"])["vetha"]["ifindex"])
    try:
        node.call(serve)
        assert reaches(lab)
    finally:
        node.call(go_away)
    if not is_first:
        pytest.skip("this kernel has no TCX (Linux 6.6)")
