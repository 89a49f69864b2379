"""What is explained of nodes that others have set up: no agent, no API and no proxy of ours.

Two nodes, each with a bridge and a Pod; the rules are of kube-proxy's shape, for nftables and for
iptables. What is explained is what a connection meets.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from debug.explain.commands import exit_code
from debug.explain.result import Branch, Explanation, ends, every_hop
from debug.explain.text import lines
from debug.places import entered
from tests.support.debug.strangers import ALONE, HERE, THERE, World
from tests.support.space import Space

BRIDGE = "net.bridge.bridge-nf-call-iptables"


@pytest.fixture(scope="module", params=["nftables", "iptables-nft", "iptables-legacy"])
def world(request: pytest.FixtureRequest, spaces: Callable[[str], Space]) -> World:
    made = World(spaces)
    made.load(request.param)
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


@pytest.mark.parametrize("shows", [0, 1])
def test_a_pod_reaches_itself_as_its_bridge_lets_it(world: World, shows: int) -> None:
    """A bridge that shows frames to rules sends nothing back to the port that it came by."""
    node = world.nodes[0]
    if not Path("/proc/sys/net/bridge").is_dir():
        pytest.skip("this kernel has no br_netfilter, which shows a bridge's frames to rules")
    before = node.run("sysctl", "-n", BRIDGE).strip()
    node.sysctl(BRIDGE, shows)
    node.run("bridge", "link", "set", "dev", "pod0", "hairpin", "off")
    try:
        way = world.explain()
        wanted = {"Pod ns1/there": 0.5} | ({} if shows else {"Pod ns1/here": 0.5})
        assert reached(way) == wanted
        assert ("(hairpin_mode is off)" in told(way)) is bool(shows)
        answers = set[str]()
        while len(answers) < 2:  # the rules draw at random
            answers.add(world.asked())
        assert answers == ({THERE, ""} if shows else {THERE, HERE})
    finally:
        node.run("bridge", "link", "set", "dev", "pod0", "hairpin", "on")
        node.sysctl(BRIDGE, int(before))


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
