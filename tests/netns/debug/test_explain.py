"""What is explained of nodes that others have set up: no agent, no API and no proxy of ours.

Two nodes, each with a bridge and a Pod; the rules are of kube-proxy's shape, for nftables and for
iptables. What is explained is what a connection meets.
"""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from debug.cluster import ClusterState, Names
from debug.explain.commands import exit_code
from debug.explain.result import Branch, Explanation, ends, every_hop
from debug.explain.space import Spaces
from debug.explain.text import lines
from debug.explain.walk import Walk
from debug.places import Place, entered
from debug.ruleset.packet import TCP, State, make
from tests.support.space import Space

SERVICE, ALONE, HERE, THERE = "10.96.0.9", "10.96.0.10", "10.244.0.2", "10.244.1.2"

NFTABLES = f"""
table ip kube-proxy {{
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {SERVICE} . tcp . 80 comment "ns1/web:http" : goto service-web }}
  }}
  map no-endpoint-services {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {ALONE} . tcp . 80 comment "ns1/none" : goto reject-chain }}
  }}
  chain reject-chain {{
    reject with tcp reset
  }}
  chain filter-forward {{
    type filter hook forward priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }}
  chain service-web {{
    ip daddr {SERVICE} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 2 vmap {{ 0 : goto endpoint-here, 1 : goto endpoint-there }}
  }}
  chain endpoint-here {{
    ip saddr {HERE} jump mark-for-masquerade
    meta l4proto tcp dnat to {HERE}:8080
  }}
  chain endpoint-there {{
    meta l4proto tcp dnat to {THERE}:8080
  }}
  chain mark-for-masquerade {{
    meta mark set meta mark | 0x4000
  }}
  chain masquerading {{
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }}
}}
"""
NAMED = '-m comment --comment "ns1/web:http cluster IP"'
IPTABLES = f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-HERE - [0:0]
:KUBE-SEP-THERE - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d {SERVICE}/32 -p tcp {NAMED} -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB ! -s 10.244.0.0/16 -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-HERE
-A KUBE-SVC-WEB -j KUBE-SEP-THERE
-A KUBE-SEP-HERE -s {HERE}/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-HERE -p tcp -m tcp -j DNAT --to-destination {HERE}:8080
-A KUBE-SEP-THERE -p tcp -m tcp -j DNAT --to-destination {THERE}:8080
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A INPUT -d {ALONE}/32 -p tcp -m addrtype --dst-type LOCAL -j ACCEPT
-A FORWARD -d {ALONE}/32 -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


class World:
    """The namespaces, and what is explained of them."""

    def __init__(self, make_space: Callable[[str], Space]) -> None:
        self.nodes = make_space("one"), make_space("two")
        self.pods = make_space("here"), make_space("there")
        for at, (node, pod) in enumerate(zip(self.nodes, self.pods, strict=True)):
            node.veth("pod0", pod, "eth0")
            node.ip_batch(
                "link add cni0 type bridge",
                "link set pod0 master cni0",
                "link set cni0 up",
                f"addr add 10.244.{at}.1/24 dev cni0",
            )
            node.sysctl("net.ipv4.ip_forward", 1)
            pod.ip_batch(
                f"addr add 10.244.{at}.2/24 dev eth0", f"route add default via 10.244.{at}.1"
            )
        self.nodes[0].veth("eth0", self.nodes[1], "eth0")
        for at, node in enumerate(self.nodes):
            node.ip_batch(
                f"addr add 172.30.0.{at + 1}/24 dev eth0",
                f"route add 10.244.{1 - at}.0/24 via 172.30.0.{2 - at}",
                f"route add 10.96.0.0/16 via 172.30.0.{2 - at}",
            )
        self.places = tuple(
            Place(name, os.getpid(), str(space.path), pod)
            for name, space, pod in (
                ("one", self.nodes[0], None),
                ("two", self.nodes[1], None),
                ("one", self.pods[0], ("ns1", "here")),
                ("two", self.pods[1], ("ns1", "there")),
            )
        )

    def explain(
        self,
        target: str = SERVICE,
        port: int = 80,
        source: int = 2,
        own_port: int = 40_000,
        *,
        new: bool = False,
    ) -> Branch:
        """Explain a packet of a Pod (2, 3) or of a node (0, 1)."""
        own = ("172.30.0.1", "172.30.0.2", HERE, THERE)[source]
        with closing(Spaces(self.places, new=new)) as spaces:
            packet = make(own, target, TCP, own_port, port)
            walk = Walk(spaces, Names(ClusterState()))
            return walk.begin(spaces.of(self.places[source]), State(packet))

    @contextmanager
    def listening(self) -> Iterator[list[socket.socket]]:
        """Have both Pods listen."""
        made = []
        for place in self.places[2:]:
            with entered(place):
                made.append(socket.create_server(("", 8080), backlog=64))
        try:
            yield made
        finally:
            for one in made:
                one.close()

    @contextmanager
    def connected(self) -> Iterator[tuple[int, str]]:
        """Keep a connection of the Pod to the Service; yield its port and who answers."""
        with self.listening() as servers:
            with entered(self.places[2]):
                client = socket.create_connection((SERVICE, 80), timeout=30)
            with client:
                ready, _, _ = select.select(servers, [], [], 30)
                yield client.getsockname()[1], (HERE, THERE)[servers.index(ready[0])]

    def call(self) -> tuple[str, str]:
        """Call the Service from the Pod; return who answers, and the client's address there."""
        with self.listening() as servers:
            with entered(self.places[2]):
                client = socket.create_connection((SERVICE, 80), timeout=30)
            with client:
                client.sendall(b"x")
                for number, server in enumerate(servers):
                    server.setblocking(False)
                    try:
                        accepted, peer = server.accept()
                    except BlockingIOError:
                        continue
                    accepted.close()
                    return (HERE, THERE)[number], peer[0]
        raise AssertionError("nobody was called")


@pytest.fixture(scope="module", params=["nftables", "iptables-nft", "iptables-legacy"])
def world(request: pytest.FixtureRequest, spaces: Callable[[str], Space]) -> World:
    made = World(spaces)
    for node in made.nodes:
        if request.param == "nftables":
            node.run("nft", "-f", "-", stdin=NFTABLES)
        else:
            node.run(f"{request.param}-restore", stdin=IPTABLES)
    return made


def reached(way: Branch) -> dict[str, float]:
    """Return the Pods where a packet may arrive, with probabilities."""
    return {one.at: one.probability for one in ends(way) if one.end == "delivered"}


def test_each_endpoint_is_a_branch_with_its_probability_and_an_answer(world: World) -> None:
    way = world.explain()
    assert reached(way) == {"Pod ns1/here": 0.5, "Pod ns1/there": 0.5}
    replies = [end for one in ends(way) if one.reply for end in ends(one.reply)]
    assert [(one.end, one.at) for one in replies] == [("delivered", "Pod ns1/here")] * 2
    assert exit_code(way) == 0


def test_the_kernel_goes_the_ways_that_were_explained(world: World) -> None:
    """A Pod that calls itself is masqueraded, else the Pod's own address arrives."""
    explained = {HERE: "10.244.0.1", THERE: HERE}
    seen = {world.call() for _ in range(8)}
    assert seen <= set(explained.items())
    shown = told(world.explain())
    assert "source becomes 10.244.0.1" in shown


def told(way: Branch) -> str:
    return "\n".join(lines(Explanation("here", "web", "", way)))


def test_rules_are_told_with_comments_and_elements(world: World) -> None:
    assert "ns1/web:http" in told(world.explain())


def test_a_connection_that_is_tracked_keeps_its_endpoint(world: World) -> None:
    """New rules change nothing for it; without the table all endpoints are possible."""
    with world.connected() as (port, answering):
        way = world.explain(own_port=port)
        pod = {HERE: "Pod ns1/here", THERE: "Pod ns1/there"}[answering]
        assert reached(way) == {pod: 1.0}
        shown = told(way)
        assert "an entry of conntrack decides (ESTABLISHED, established)" in shown
        assert f"which it translates to {'10.244.0.1' if answering == HERE else HERE}" in shown
        assert exit_code(way) == 0
        assert len(reached(world.explain(own_port=port, new=True))) == 2


def test_a_port_that_another_connection_has_is_not_taken_again(world: World) -> None:
    """Who called the endpoint itself has the addresses that the Service's answers would have."""
    with (
        world.listening(),
        entered(world.places[2]),
        socket.create_connection((THERE, 8080), timeout=30) as direct,
    ):
        way = world.explain(own_port=direct.getsockname()[1])
    there = next(one for one in every(way) if "Pod ns1/there" in {end.at for end in ends(one)})
    assert f"tcp {HERE}:any > {THERE}:8080" in {hop.packet for hop in every_hop(there)}


def every(way: Branch) -> Iterator[Branch]:
    yield from way.branches
    for one in way.branches:
        yield from every(one)


def test_a_service_without_endpoints_is_rejected_by_a_rule(world: World) -> None:
    way = world.explain(ALONE)
    (end,) = ends(way)
    assert end.end == "dropped", end
    assert "rejected" in end.why
    assert exit_code(way) == 1


def test_what_the_node_itself_calls_leaves_by_the_output_hook(world: World) -> None:
    way = world.explain(source=0)
    assert reached(way) == {"Pod ns1/here": 0.5, "Pod ns1/there": 0.5}
    assert "output" in {hop.stage for one in (way, *way.branches) for hop in every_hop(one)}


def test_routing_says_why_it_refuses(world: World) -> None:
    two = world.nodes[1]
    two.sysctl("net.ipv4.ip_forward", 0)
    try:
        found = [one for one in ends(world.explain()) if one.end == "dropped"]
        assert [one.at for one in found] == ["Node two"]
        assert "does not forward" in found[0].why
    finally:
        two.sysctl("net.ipv4.ip_forward", 1)
    (end,) = ends(world.explain("192.0.2.1"))
    assert (end.end, end.at) == ("dropped", "Node one")


def test_an_address_that_nobody_has_is_lost(world: World) -> None:
    (end,) = ends(world.explain("10.244.1.77", 8080))
    assert (end.end, end.at) == ("lost", "Node two")


def test_an_expression_that_is_not_known_makes_its_branch_unknown(world: World) -> None:
    world.nodes[1].run(
        *("nft", "-f", "-"),
        stdin="table ip x {\nchain f {\ntype filter hook forward priority 5; meta cpu 0 drop\n}\n}",
    )
    way = world.explain()
    unknown = [one for one in ends(way) if one.end == "unknown"]
    assert [(one.at, one.probability) for one in unknown] == [("Node two", 0.5)]
    assert "meta key 20" in unknown[0].why
    assert exit_code(way) == 3
    world.nodes[1].run("nft", "delete", "table", "ip", "x")
