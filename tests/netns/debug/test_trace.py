"""Traces of real packets over two nodes: rules of nftables and of iptables-nft, both directions."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import pytest

from debug.cluster import ClusterState, Names
from debug.places import Ground, Place, entered
from debug.trace.commands import Asked, observe_all, predict, succeeded, told
from debug.trace.compare import compare
from debug.trace.ends import Target
from debug.trace.listen import live_packets
from debug.trace.live import parse_filter
from debug.trace.model import PacketTrace, Step, Trace
from debug.trace.text import lines
from tests.support.space import Space

SERVICE, ENDPOINT = "10.96.0.1", "10.1.2.2"
RULES = """
table ip services {
  map services {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.1 . tcp . 80 comment "default/web:http" : goto pick,
                 10.96.0.1 . udp . 80 comment "default/web:udp" : goto pick }
  }
  chain pick {
    meta l4proto { tcp, udp } dnat to 10.1.2.2:8080 comment "endpoint web-1"
  }
  chain pre {
    type nat hook prerouting priority -100;
    ip daddr . meta l4proto . th dport vmap @services
  }
  chain post {
    type nat hook postrouting priority 100;
    oifname eth0 meta l4proto udp masquerade fully-random comment "leaves the node"
  }
}
"""
SERVER = """
import socket
tcp = socket.create_server(("10.1.2.2", 8080))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("10.1.2.2", 8080))
print("up", flush=True)
while True:
    udp.sendto(b"hello you", udp.recvfrom(100)[1])
"""
NAMES = {
    "10.1.1.2": "Pod default/client",
    SERVICE: "Service default/web",
    ENDPOINT: "Pod default/web-1",
}


@dataclass(frozen=True)
class Network:
    """A client's Pod on a bridge of node1, a server's behind node2."""

    client: Place
    places: tuple[Place, ...]
    nodes: tuple[Space, Space]

    def call(self, address: str, port: int) -> bytes:
        """Send what a program would send, and return the answer."""
        with entered(self.client):
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sending:
            sending.settimeout(10)
            sending.sendto(b"hello", (address, port))
            return sending.recv(100)

    def trace(self, address: str, port: int | None, protocol: str, **more: Any) -> Trace:
        """Send one probe, and return what was seen."""
        target = Target(address, (address,), port, answer_ports=(8080,))
        asked = Asked(self.client, target, protocol, self.places, Named())
        options = {"count": 1, "size": 0, "fragment": False, "ttl": 64, "wait": 2.0}
        options |= {"handshake": False, "source_port": None} | more
        return told(asked, observe_all(asked, options), 0.0)


class Named(Names):
    """The names of this network."""

    def __init__(self) -> None:
        super().__init__(ClusterState())

    def of(self, address: str) -> str:
        return NAMES.get(address, "")


def place(space: Space, node: str, pod: str = "") -> Place:
    return Place(node, os.getpid(), str(space.path), ("default", pod) if pod else None)


@pytest.fixture(scope="module")
def network(spaces: Callable[[str], Space]) -> Iterator[Network]:
    client, one, two, server = (spaces(name) for name in ("client", "n1", "n2", "server"))
    one.veth("pod1", client, "eth0")
    one.veth("eth0", two, "eth0")
    two.veth("pod2", server, "eth0")
    one.ip_batch(
        "link add br0 type bridge",
        "link set br0 up",
        "link set pod1 master br0",
        "addr add 10.1.1.1/24 dev br0",
        "addr add 192.168.0.1/24 dev eth0",
        "addr add fd01::1/64 dev br0 nodad",
        "addr add fd00::1/64 dev eth0 nodad",
        "route add 10.1.2.0/24 via 192.168.0.2",
        "route add fd02::/64 via fd00::2",
    )
    two.ip_batch(
        "addr add 10.1.2.1/24 dev pod2",
        "addr add 192.168.0.2/24 dev eth0",
        "addr add fd02::1/64 dev pod2 nodad",
        "addr add fd00::2/64 dev eth0 nodad",
        "route add 10.1.1.0/24 via 192.168.0.1",
        "route add fd01::/64 via fd00::1",
    )
    for number, pod in enumerate((client, server), 1):
        pod.ip_batch(
            f"addr add 10.1.{number}.2/24 dev eth0",
            f"addr add fd0{number}::2/64 dev eth0 nodad",
            f"route add default via 10.1.{number}.1",
            f"route add default via fd0{number}::1",
        )
    for node in (one, two):
        node.sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
    one.run("nft", "-f", "-", stdin=RULES)
    rule = ("-p", "tcp", "--dport", "81", "-m", "comment", "--comment", "no port 81", "-j", "DROP")
    two.run("iptables-nft", "-A", "FORWARD", *rule)
    places = (place(one, "node1"), place(two, "node2"), place(server, "node2", "web-1"))
    argv = server.argv(sys.executable, "-IS", "-c", SERVER)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        yield Network(place(client, "node1", "client"), places, (one, two))
        process.kill()


def ways(trace: Trace, direction: str) -> list[PacketTrace]:
    return [one for one in trace.packets if one.direction == direction]


def steps(packet: PacketTrace) -> list[Step]:
    return [step for hop in packet.hops for step in hop.steps]


def hops(packet: PacketTrace) -> Sequence[str]:
    return [hop.place for hop in packet.hops]


THERE = ["Pod default/client", "Node node1", "Node node2", "Pod default/web-1"]


def test_a_connection_to_a_service_is_followed_in_both_directions(network: Network) -> None:
    trace = network.trace(SERVICE, 80, "tcp")
    assert succeeded(trace), "\n".join(lines(trace))
    syn, answer = ways(trace, "forward")[0], ways(trace, "reply")[0]
    assert (syn.name, hops(syn)) == ("TCP SYN", THERE)
    assert (answer.name, hops(answer)) == ("TCP SYN-ACK", THERE[::-1])
    (goto,) = [step for step in steps(syn) if step.verdict == "goto"]
    assert (goto.rule, goto.hook) == ("default/web:http", "prerouting")
    (rule,) = [step for step in steps(syn) if step.kind == "rule" and step.before]
    assert rule.rule == "endpoint web-1"
    assert rule.before and rule.before.destination_name == "Service default/web"
    assert rule.ends and rule.ends.destination_name == "Pod default/web-1"
    (back,) = [step for step in steps(answer) if step.before]
    assert (back.kind, back.rule) == ("rewrite", "connection tracking")
    assert back.ends and back.ends.source_name == "Service default/web"
    assert "answered by TCP SYN-ACK" in "\n".join(lines(trace))


def test_a_handshake_opens_and_closes_a_connection(network: Network) -> None:
    trace = network.trace(SERVICE, 80, "tcp", handshake=True)
    assert [one.name for one in ways(trace, "forward")] == ["TCP SYN", "TCP ACK", "TCP FIN-ACK"]
    assert all(one.outcome == "arrived" for one in trace.packets)


def test_udp_is_known_behind_a_masquerade_and_back(network: Network) -> None:
    trace = network.trace(SERVICE, 80, "udp")
    assert succeeded(trace), "\n".join(lines(trace))
    there, back = trace.packets
    assert (hops(there), hops(back)) == (THERE, THERE[::-1])
    rewrites = [step.rule for step in steps(there) if step.before and step.kind == "rule"]
    assert rewrites == ["endpoint web-1", "leaves the node"]


def test_the_rule_of_iptables_that_drops_is_named(network: Network) -> None:
    trace = network.trace(ENDPOINT, 81, "tcp", wait=0.3)
    (syn,) = trace.packets
    assert (syn.outcome, syn.where) == ("dropped", "Node node2")
    assert "'no port 81' of chain FORWARD (table ip filter)" in syn.why
    assert not succeeded(trace)


def test_an_error_about_the_probe_comes_back(network: Network) -> None:
    trace = network.trace(ENDPOINT, 99, "udp")
    (back,) = ways(trace, "reply")
    assert (back.name, back.where) == ("ICMP port unreachable", "Pod default/client")


def test_the_kernels_reason_of_a_drop_is_told(network: Network) -> None:
    trace = network.trace(ENDPOINT, None, "icmp", ttl=2)
    there, back = trace.packets
    assert (there.outcome, there.where) == ("dropped", "Node node2")
    assert "IP_INHDR in ip_forward" in there.why
    assert back.name == "ICMP time to live exceeded"


def test_a_packet_that_no_event_shows_is_unknown_with_its_route(network: Network) -> None:
    network.nodes[0].ip("route", "replace", "10.7.0.0/16", "via", "192.168.0.9")
    (there,) = network.trace("10.7.0.1", None, "icmp", wait=0.1).packets
    assert (there.outcome, there.where) == ("unknown", "Node node1")
    assert "leads to 192.168.0.9 by eth0" in there.why


def test_ping_is_followed(network: Network) -> None:
    trace = network.trace(ENDPOINT, None, "icmp", size=1400)
    assert [hops(one) for one in trace.packets] == [THERE, THERE[::-1]]


def test_ipv6_is_followed_to_the_refusal(network: Network) -> None:
    there, back = network.trace("fd02::2", 99, "udp").packets
    assert (hops(there), there.outcome) == (THERE, "dropped")
    assert "NO_SOCKET" in there.why
    assert (back.name, back.where) == ("ICMP port unreachable", "Pod default/client")


def test_a_drop_by_legacy_iptables_says_what_cannot_be_seen(network: Network) -> None:
    rule = ("FORWARD", "-p", "tcp", "--dport", "83", "-j", "DROP")
    network.nodes[1].run("iptables-legacy", "-w", "5", "-A", *rule)
    trace = network.trace(ENDPOINT, 83, "tcp", wait=0.3)
    network.nodes[1].run("iptables-legacy", "-w", "5", "-D", *rule)
    (syn,) = trace.packets
    assert (syn.outcome, syn.where) == ("dropped", "Node node2")
    assert "NETFILTER_DROP" in syn.why
    assert any("Node node2: iptables-legacy has rules" in line for line in trace.unseen)


@pytest.mark.parametrize(
    ("address", "port", "protocol"),
    [(SERVICE, 80, "tcp"), (SERVICE, 80, "udp"), (ENDPOINT, None, "icmp"), (ENDPOINT, 81, "tcp")],
)
def test_packets_go_as_explained(
    network: Network, address: str, port: int | None, protocol: str
) -> None:
    shown = f"{address}/{protocol}" if port is None else f"{address}:{port}/{protocol}"
    options = {"namespace": "default", "source_port": 43210 + (port or 0)}
    ground = Ground((network.client, *network.places))
    predicted = predict(ground, "default/client", shown, options)
    trace = network.trace(
        address, port, protocol, source_port=options["source_port"], wait=0.3 if port == 81 else 2.0
    )
    found = compare(predicted, trace.packets)
    assert [one.direction for one in found] == ["forward", "reply"][: 1 if port == 81 else 2]
    rows = [f"{one.direction}: {row}" for one in found for row in one.rows]
    assert all(one.agrees for one in found), "\n".join(rows)


def test_traffic_that_is_there_is_followed(network: Network) -> None:
    match = parse_filter(f"host {ENDPOINT} and port 8080 and udp", "default", None)
    listening = live_packets(match, (network.client, *network.places), Named())
    with ThreadPoolExecutor(1) as thread:
        heard = thread.submit(lambda: list(islice(listening, 8)))
        while not heard.done():  # the first packets come before it listens everywhere
            network.call(ENDPOINT, 8080)
        packets = heard.result()
    listening.close()
    assert all(one.name.startswith("UDP") for one in packets)
    ways = [(one.name, one.outcome, hops(one)) for one in packets]
    assert THERE in [way for _, outcome, way in ways if outcome == "arrived"], ways


def test_a_trace_that_is_killed_leaves_nothing(network: Network) -> None:
    node = network.nodes[0]
    before = node.run("nft", "list", "tables")
    script = (
        "import sys, time\n"
        "from debug.places import Place\n"
        "from debug.trace.packet import Flow\n"
        "from debug.trace.probe import Probe\n"
        "from debug.trace.rules import tables\n"
        "from debug.trace.sought import of_probe\n"
        "from debug.trace.watch.spaces import Watch\n"
        "probe = Probe(Flow('udp', '10.1.1.2', '10.96.0.1', 4000, 80), 0x20000000)\n"
        "watch = Watch(of_probe(probe))\n"
        "watch.add(Place('n', 1, sys.argv[1]), tables(probe, 'podwire-trace-1'))\n"
        "print(watch.blind, flush=True)\n"
        "watch.read(60)\n"
    )
    argv = [sys.executable, "-c", script, str(node.path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "[]\n"
        assert "podwire-trace-1" in node.run("nft", "list", "tables")
        process.send_signal(signal.SIGKILL)
    assert node.run("nft", "list", "tables") == before


def test_a_trace_is_json_that_names_each_step(network: Network) -> None:
    found = json.loads(msgspec.json.encode(network.trace(SERVICE, 80, "tcp")))
    kinds = {step["kind"] for one in found["packets"] for h in one["hops"] for step in h["steps"]}
    assert {"in", "out", "rule", "policy", "connection", "rewrite"} <= kinds
