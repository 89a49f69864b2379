"""The order of what was met, where only links tell the time."""

from dataclasses import replace

import pytest

from debug.places import Place
from debug.trace.packet import Flow, Packet
from debug.trace.probe import Direction, Identity, Probe, Recognizer
from debug.trace.result import Teller
from debug.trace.send import build
from debug.trace.walk import Passage, Stay, Visit, walk
from debug.trace.watch.connections import Connection
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.routes import Leads
from debug.trace.watch.rulebook import ChainRules, RuleText
from debug.trace.watch.spaces import Seen
from debug.trace.watch.taps import Tapped

POD, NODE = Place("n1", 1, "/pod", ("default", "client")), Place("n1", 1, "/node")
LINKS = {NODE: {2: "veth", 3: "br0", 4: "eth0"}}
ASKED = Flow("tcp", "10.1.1.2", "10.96.0.1", 4000, 80)
SENT = Flow("tcp", "10.1.1.2", "10.1.2.2", 4000, 8080)
SYN = Identity(Direction.FORWARD, "TCP SYN")
PROBE = Probe(ASKED, 0x20000000)
_BACK = Flow("tcp", "10.1.2.2", "10.1.1.2", 8080, 4000)


def packet(flow: Flow) -> bytes:
    return build(Probe(flow, PROBE.mark))


def tapped(place: Place, time: int, link: str, out: bool, flow: Flow) -> Seen:
    return Seen(place, Tapped(time, link, out, packet(flow)))


def ruled(chain: str, flow: Flow | None, verdict: str = "accept", **more: int) -> Seen:
    """An event; with a flow, it is the first of its chain."""
    data = packet(flow) if flow else b""
    event = NftTrace(
        packet=7,
        family="ip",
        table="nat",
        chain=chain,
        kind="rule",
        verdict=verdict,
        handle=5,
        network=data[:20],
        transport=data[20:40],
        **more,
    )
    return Seen(NODE, event)


def order(seen: list[Seen]) -> list[str]:
    """What one packet met: links and chains."""
    ways = walk(seen, Recognizer(PROBE), LINKS)
    assert list(ways) == [SYN]
    names = []
    for stay in ways[SYN]:
        for met in stay.met:
            if isinstance(met, Passage):
                names.append(f"{'out' if met.out else 'in'} {met.link}")
            elif isinstance(met, Visit):
                names.append(met.events[0].chain)
            else:
                names.append("connection")
    return names


ROUTED = [
    ruled("pre", ASKED, link_in=2),
    ruled("post", SENT, link_out=4),
    tapped(NODE, 3, "eth0", True, SENT),
    tapped(NODE, 2, "veth", False, ASKED),
    tapped(POD, 1, "eth0", True, ASKED),
    Seen(NODE, Connection(ASKED, _BACK)),
]


def test_rules_stand_between_the_links_that_they_name() -> None:
    expected = ["out eth0", "in veth", "pre", "post", "out eth0", "connection"]
    assert order(ROUTED) == expected
    assert order(ROUTED[2:] + ROUTED[:2]) == expected


def test_rules_of_br_netfilter_come_before_the_bridge_that_they_name() -> None:
    seen = [
        tapped(NODE, 1, "veth", False, ASKED),
        tapped(NODE, 1, "br0", False, SENT),
        ruled("pre", ASKED, link_in=3),
        ruled("forward", SENT, link_in=3, link_out=4),
        tapped(NODE, 2, "eth0", True, SENT),
    ]
    assert order(seen) == ["in veth", "pre", "in br0", "forward", "out eth0"]


def test_a_packet_that_ends_in_a_rule_met_it_last() -> None:
    seen = [tapped(NODE, 1, "veth", False, ASKED), ruled("forward", ASKED, "drop", link_in=2)]
    way = walk(seen, Recognizer(PROBE), LINKS)[SYN]
    told = Teller({}, lambda _: "", 0).packet(1, SYN, way)
    assert (told.outcome, told.where) == ("dropped", "Node n1")
    assert "chain forward" in told.why


@pytest.mark.parametrize(
    ("kind", "reason", "function", "outcome"),
    [
        ("FIN-ACK", "NOT_SPECIFIED", "tcp_v4_rcv", "arrived"),  # in TIME_WAIT
        ("SYN", "NOT_SPECIFIED", "tcp_v4_rcv", "dropped"),
        ("FIN-ACK", "NOT_SPECIFIED", "ip_forward", "dropped"),
        ("RST", "TCP_RESET", "tcp_validate_incoming", "arrived"),
        ("ACK", "QUEUE_PURGE", "sk_stream_kill_queues", "arrived"),
        ("echo reply", "NO_SOCKET", "ping_rcv", "arrived"),  # a raw socket has it
        ("echo reply", "NETFILTER_DROP", "nf_hook_slow", "dropped"),
        ("", "NO_SOCKET", "__udp4_lib_rcv", "dropped"),
    ],
)
def test_what_has_arrived_is_not_dropped_whatever_the_kernel_calls_it(
    kind: str, reason: str, function: str, outcome: str
) -> None:
    found = Packet(SENT, 1, 64, 40, kind)
    coming = Passage(1, "eth0", False, found, b"")
    way = [Stay(NODE, (coming, replace(coming, time=2, dropped=reason, function=7)))]
    teller = Teller(
        {}, lambda _: "", 0, function=lambda _: function, leads=lambda *_: Leads("local")
    )
    assert teller.packet(1, SYN, way).outcome == outcome


def test_the_rule_that_translated_is_named_with_both_flows() -> None:
    way = walk(ROUTED, Recognizer(PROBE), LINKS)[SYN]
    rules = {("ip", "nat", "pre"): ChainRules("prerouting", {5: RuleText("default/web", True)})}
    names = {"10.96.0.1": "Service default/web"}
    told = Teller({NODE: rules}, lambda address: names.get(address, ""), 0).packet(1, SYN, way)
    (step,) = [one for hop in told.hops for one in hop.steps if one.kind == "rule" and one.before]
    assert (step.rule, step.hook) == ("default/web", "prerouting")
    assert step.before and step.before.destination_name == "Service default/web"
    assert step.ends and (step.ends.destination, step.ends.destination_port) == ("10.1.2.2", 8080)


def test_a_packet_of_another_mark_is_not_the_probe() -> None:
    other = Recognizer(Probe(ASKED, PROBE.mark + 0x100))
    assert walk(ROUTED[2:5], other, LINKS) == {}
