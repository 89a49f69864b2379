"""Speakers agree on one node for each address, without a talk, and leave the dead out."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from control.api.node import Node
from control.api.service import EndpointSlice, Service
from control.cloud.speaker import frames
from control.cloud.speaker.choose import candidates, leader, leaders
from control.cloud.speaker.duty import Duty
from control.cloud.speaker.frames import Announced, Beat, Question
from control.cloud.speaker.members import SILENT_TICKS
from control.cloud.speaker.metrics import measure_layer2
from control.cloud.speaker.views import (
    NodeView,
    ServiceView,
    SliceView,
    node_view,
    service_view,
    slice_view,
)
from control.metrics import Registry

MINE, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
V4, V6 = IPv4Address("192.0.2.200"), IPv6Address("2001:db8::200")
NAMES = [f"node{n}" for n in range(1, 6)]
nodes_of = st.frozensets(st.sampled_from(NAMES), min_size=1)
address_of = st.integers(0, 255).map(lambda n: IPv4Address("192.0.2.0") + n)


@given(address_of, nodes_of, st.data())
def test_a_node_that_goes_moves_only_its_own_addresses(
    address: IPv4Address, nodes: frozenset[str], data: Any
) -> None:
    gone = data.draw(st.sampled_from(sorted(nodes)))
    before, after = leader(address, nodes), leader(address, nodes - {gone})
    assert before in nodes
    assert after == before or before == gone


def test_addresses_spread_over_nodes() -> None:
    found = {leader(IPv4Address("192.0.2.0") + n, NAMES) for n in range(100)}
    assert found == {*NAMES}


def view(name: str, *, ready: bool = True, usable: bool = True) -> NodeView:
    return NodeView(("", name), name, "1", ready, usable)


def balanced(name: str, *addresses: Any, local: bool = False) -> ServiceView:
    return ServiceView(("default", name), name, "1", addresses, local)


def endpoints(service: str, *nodes: str) -> SliceView:
    return SliceView(("default", service), service, "1", ("default", service), frozenset(nodes))


NODES = [view("node1"), view("node2"), view("node3", ready=False), view("node4", usable=False)]


@pytest.mark.parametrize(
    ("services", "slices", "nodes", "who"),
    [
        ([balanced("s", V4)], [endpoints("s", "node3")], NODES, {"node1", "node2"}),
        ([balanced("s", V4)], [], NODES, set()),
        ([balanced("s", V4)], [endpoints("t", "node1")], NODES, set()),
        ([balanced("s", V4, local=True)], [endpoints("s", "node2", "node4")], NODES, {"node2"}),
        ([balanced("s", V4, local=True)], [endpoints("s", "node4")], NODES, set()),
        # no agent reports: the agents are the fault
        ([balanced("s", V4)], [endpoints("s", "node9")], [view("node3", ready=False)], {"node3"}),
        # a shared address is announced if one of its Services has endpoints
        ([balanced("s", V4), balanced("t", V4)], [endpoints("t", "x")], NODES, {"node1", "node2"}),
    ],
)
def test_who_may_announce(services: Any, slices: Any, nodes: Any, who: set[str]) -> None:
    assert candidates(services, slices, nodes) == {V4: frozenset(who)}


def test_views_keep_what_matters() -> None:
    ingress = [{"ip": str(V4)}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"hostname": "h"}]
    status = {"loadBalancer": {"ingress": ingress}}
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    meta = {"name": "s", "namespace": "default"}
    kept = service_view(Service.parse({"metadata": meta, "spec": spec, "status": status}))
    assert (kept.addresses, kept.local) == ((V4,), True)
    spec["type"] = "NodePort"
    other = service_view(Service.parse({"metadata": meta, "spec": spec, "status": status}))
    assert other.addresses == ()
    endpoints = [
        {"addresses": ["192.0.2.1"], "nodeName": "a"},
        {"addresses": ["192.0.2.2"], "nodeName": "b", "conditions": {"ready": False}},
    ]
    labels = {"kubernetes.io/service-name": "s"}
    piece = slice_view(
        EndpointSlice.parse({"metadata": meta | {"labels": labels}, "endpoints": endpoints})
    )
    assert (piece.service, piece.nodes) == (("default", "s"), {"a"})
    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    node = Node.parse(
        {
            "metadata": {"name": "n", "labels": excluded},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
    )
    assert (node_view(node).ready, node_view(node).usable) == (True, False)


def test_dead_nodes_lead_only_if_no_other_may() -> None:
    both, first = frozenset({"node1", "node2"}), leader(V4, ("node1", "node2"))
    other = ({*both} - {first}).pop()
    assert leaders({V4: both}, {first}) == {V4: other}
    assert leaders({V4: both}, both) == {V4: first}
    assert leaders({V4: frozenset()}, set()) == {}


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def test_arp_is_read_and_written_as_scapy_does() -> None:
    asked = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:02") / ARP(
        op=1, hwsrc="02:00:00:00:00:02", psrc="192.0.2.1", pdst=str(V4)
    )
    heard = frames.parse(bytes(asked))
    assert heard == Question(V4, OTHER, IPv4Address("192.0.2.1"))
    reply = Ether(frames.answer(heard, MINE))
    assert (mac(reply.dst), mac(reply.src), reply[ARP].op) == (OTHER, MINE, 2)
    assert (mac(reply[ARP].hwsrc), reply[ARP].psrc) == (MINE, str(V4))
    assert (mac(reply[ARP].hwdst), reply[ARP].pdst) == (OTHER, "192.0.2.1")
    for operation, frame in enumerate(frames.gratuitous(V4, MINE), start=1):
        told = Ether(frame)
        assert (told.dst, told[ARP].op) == ("ff:ff:ff:ff:ff:ff", operation)
        assert told[ARP].psrc == told[ARP].pdst == str(V4)
        assert frames.parse(frame) == Announced(V4, MINE)


def test_neighbor_discovery_is_read_and_written_as_scapy_does() -> None:
    asked = (
        Ether(src="02:00:00:00:00:02", dst="33:33:ff:00:02:00")
        / IPv6(src="fe80::2", dst="ff02::1:ff00:200", hlim=255)
        / ICMPv6ND_NS(tgt=str(V6))
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:02")
    )
    heard = frames.parse(bytes(asked))
    assert heard == Question(V6, OTHER, IPv6Address("fe80::2"))
    reply = Ether(frames.answer(heard, MINE))
    sent = reply[ICMPv6ND_NA].cksum
    del reply[ICMPv6ND_NA].cksum
    assert Ether(bytes(reply))[ICMPv6ND_NA].cksum == sent
    assert (reply[IPv6].dst, reply[IPv6].hlim, reply[ICMPv6ND_NA].tgt) == ("fe80::2", 255, str(V6))
    assert (reply[ICMPv6ND_NA].S, reply[ICMPv6ND_NA].O) == (1, 1)
    assert frames.parse(frames.answer(heard, MINE)) == Announced(V6, MINE)
    assert frames.solicited_group(V6) == mac("33:33:ff:00:02:00")


def test_who_checks_for_a_duplicate_is_answered_by_multicast() -> None:
    asked = (
        Ether(src="02:00:00:00:00:02", dst="33:33:ff:00:02:00")
        / IPv6(src="::", dst="ff02::1:ff00:200", hlim=255)
        / ICMPv6ND_NS(tgt=str(V6))
    )
    heard = frames.parse(bytes(asked))
    assert heard == Question(V6, OTHER, None)
    reply = Ether(frames.answer(heard, MINE))
    assert (reply.dst, reply[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert reply[ICMPv6ND_NA].S == 0


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_passed_over(frame: bytes) -> None:
    frames.parse(frame)


@given(st.sampled_from([0, 1, 2]), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_changed_frames_are_read_or_passed_over(which: int, at: int, patch: bytes) -> None:
    frame = bytearray(
        (frames.beat(MINE, "n"), frames.gratuitous(V4, MINE)[0], frames.gratuitous(V6, MINE)[0])[
            which
        ]
    )
    at %= len(frame)
    frame[at : at + len(patch)] = patch
    frames.parse(bytes(frame))


def test_a_forged_advertisement_from_behind_a_router_is_passed_over() -> None:
    forged = bytearray(frames.gratuitous(V6, MINE)[0])
    forged[14 + 7] = 254  # the hop limit: a router lowered it
    assert frames.parse(bytes(forged)) is None
    broken = bytearray(frames.gratuitous(V6, MINE)[0])
    broken[-1] ^= 1  # the checksum is wrong
    assert frames.parse(bytes(broken)) is None


def test_a_heartbeat_names_its_node() -> None:
    assert frames.parse(frames.beat(MINE, "n" * 253)) == Beat("n" * 253)
    cut = frames.beat(MINE, "n" * 253)[:100]
    assert frames.parse(cut) is None


def question(address: Any) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:00:09", dst="ff:ff:ff:ff:ff:ff")
        / ARP(op=1, hwsrc="02:00:00:00:00:09", psrc="192.0.2.1", pdst=str(address))
    )


def pair() -> tuple[Duty, Duty]:
    """The node that leads the address, and the other one, both with all facts."""
    names = ("node1", "node2")
    first = leader(V4, names)
    second = names[first == names[0]]
    return Duty(str(first), MINE), Duty(second, OTHER)


MAY = {V4: frozenset({"node1", "node2"})}


def test_only_the_leader_answers() -> None:
    one, other = pair()
    told = list(one.decide(MAY))
    assert [type(frames.parse(frame)) for frame in told] == [Beat, Announced, Announced]
    assert list(other.decide(MAY)) == []
    assert len(list(one.take(question(V4)))) == 1
    assert list(other.take(question(V4))) == []
    assert list(one.take(question("192.0.2.77"))) == []
    for duty, counts in ((one, (1, 1, 2)), (other, (0, 0, 0))):
        tally = duty.tally
        assert (tally.asked[V4], tally.answered[V4], tally.announced[V4]) == counts
        assert not tally.asked["192.0.2.77"]
    registry = Registry()
    measure_layer2(registry, one.tally)
    assert f'metallb_layer2_requests_received{{ip="{V4}"}} 1' in registry.text().splitlines()
    list(one.decide({}))
    assert f'ip="{V4}"' not in registry.text()


def test_a_silent_leader_is_replaced_and_returns() -> None:
    one, other = pair()
    list(one.decide(MAY))
    list(other.decide(MAY))
    for _ in range(20):  # as long as it beats, nothing moves
        for frame in one.tick():
            list(other.take(frame))
        assert list(other.tick()) == []
    for _ in range(SILENT_TICKS - 2):  # the last tick was the first without a beat
        assert list(other.tick()) == []
    told = [frames.parse(frame) for frame in other.tick()]
    assert Announced(V4, OTHER) in told
    assert other.addresses == {V4}
    for frame in other.tick():  # the first one lives, and hears that it lost the address
        list(one.take(frame))
    again = list(one.tick())
    assert Announced(V4, MINE) in [frames.parse(frame) for frame in again]
    for frame in again:
        list(other.take(frame))
    assert (one.addresses, other.addresses) == ({V4}, frozenset())
    assert list(other.take(question(V4))) == []


def test_nobody_beats_without_an_address() -> None:
    one, _ = pair()
    assert one.idle
    list(one.decide(MAY))
    assert not one.idle
    list(one.decide({}))
    assert one.idle
    assert list(one.tick()) == []


def test_a_stop_of_everything_kills_nobody() -> None:
    """Ticks that are late count once, and what arrived meanwhile is read before."""
    one, other = pair()
    list(one.decide(MAY))
    list(other.decide(MAY))
    for _ in range(3 * SILENT_TICKS):  # the machine stops; each process runs a little in between
        beats = list(one.tick())
        for frame in beats:
            list(other.take(frame))
        list(other.tick())
    assert other.dead == frozenset()


def spread(duties: dict[str, Duty], name: str, deaf: set[str]) -> None:
    """Let a node tick; the others that are not deaf take its frames."""
    for frame in duties[name].tick():
        for other in {*duties} - deaf - {name}:
            list(duties[other].take(frame))


@given(st.lists(st.tuples(st.sampled_from(NAMES[:3]), st.sampled_from("tqdl")), max_size=60))
def test_when_all_is_quiet_exactly_one_live_node_leads(steps: list[tuple[str, str]]) -> None:
    """Whoever stops and goes on, in any order: once frames arrive again, one leads."""
    duties = {name: Duty(name, bytes((2, 0, 0, 0, 0, n))) for n, name in enumerate(NAMES[:3])}
    for duty in duties.values():
        list(duty.decide({V4: frozenset(duties)}))
    deaf: set[str] = set()
    for name, step in steps:
        if step == "d":
            deaf.add(name)
        elif step == "l":
            deaf.discard(name)
        elif name not in deaf:
            spread(duties, name, deaf)
    for _ in range(4 * SILENT_TICKS):
        for name in duties:
            spread(duties, name, set())
    assert [name for name, duty in duties.items() if duty.addresses] == [leader(V4, NAMES[:3])]
