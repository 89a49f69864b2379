"""Rules that ask for the ports of a bridge, as clouds and hypervisors write them."""

import os
from collections.abc import Callable
from contextlib import closing

import pytest

from debug.cluster import ClusterState, Names
from debug.explain.result import ends
from debug.explain.space import Spaces
from debug.explain.walk import Walk
from debug.places import Place
from debug.ruleset.packet import ICMP, State, make
from tests.support.space import Space

# What a rule asks for, and whether a ping from the first Pod to the second one meets it.
MATCHES = {
    "--physdev-in port0": True,
    "--physdev-in port1": False,
    "--physdev-out port1": True,
    "! --physdev-in port0": False,
    "! --physdev-out port0": True,
    "--physdev-in port+ --physdev-out port1": True,
    "--physdev-is-bridged": True,
    "! --physdev-is-bridged": False,
    "--physdev-is-in": True,
}


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space]) -> tuple[Space, tuple[Place, ...]]:
    """A bridge that shows its frames to iptables, with two Pods."""
    node = spaces("node")
    node.ip_batch("link add br0 type bridge nf_call_iptables 1", "link set br0 up")
    node.ip_batch("addr add 10.7.0.1/24 dev br0")
    places = [Place("node", os.getpid(), str(node.path))]
    for at in range(2):
        pod = spaces(f"pod{at}")
        node.veth(f"port{at}", pod, "eth0")
        node.ip_batch(f"link set port{at} master br0")
        pod.ip_batch(f"addr add 10.7.0.{at + 2}/24 dev eth0")
        places.append(Place("node", os.getpid(), str(pod.path), ("ns", f"pod{at}")))
        pods.append(pod)
    return node, tuple(places)


pods: list[Space] = []


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("match", MATCHES)
def test_a_rule_about_ports_does_what_is_explained(
    node: tuple[Space, tuple[Place, ...]], tool: str, match: str
) -> None:
    space, places = node
    rule = ("FORWARD", "-p", "icmp", "--icmp-type", "8", "-m", "physdev", *match.split())
    space.run(tool, "-w", "5", "-A", *rule, "-j", "DROP")
    try:
        with closing(Spaces(places)) as spaces:
            packet = make("10.7.0.2", "10.7.0.3", ICMP)
            walk = Walk(spaces, Names(ClusterState()))
            (end,) = ends(walk.begin(spaces.of(places[1]), State(packet)))
        lost = not answers(pods[0])
    finally:
        space.run(tool, "-w", "5", "-D", *rule, "-j", "DROP")
    assert (end.end == "dropped") is lost is MATCHES[match]


def answers(pod: Space) -> bool:
    """Return True if one of two pings is answered; the wait is for an answer that may not come."""
    done = pod.run("sh", "-c", "ping -c 1 -W 0.4 10.7.0.3 > /dev/null && echo yes || echo no")
    return done.strip() == "yes"
