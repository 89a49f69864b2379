"""Faults of IPv6 on real nodes, dual-stack and with IPv6 alone: each is broken, then named."""

import os
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from debug.cluster import ClusterState
from debug.doctor.examine import examine
from debug.model import Level
from debug.places import Ground, Place
from debug.snapshot import Snapshot, take
from proxy.objects.wire import Node
from proxy.policy.wire import Pod
from tests.support.space import Space

RULES = """
table {family} podwire-proxy {{
  chain pre {{ type nat hook prerouting priority dstnat; }}
  chain out {{ type nat hook output priority -100; }}
  chain post {{ type nat hook postrouting priority srcnat; }}
  chain on {{ type filter hook forward priority 0; ct state invalid drop; }}
}}
"""
HIDING = (
    "table ip6 other { chain post { type nat hook postrouting priority srcnat; "
    "ip6 saddr fd00:244:1::/64 masquerade; }; }"
)
FAULTS = {
    "forwarding-off": (
        "node",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
    ),
    "routes": (
        "node",
        "ip -6 route del fd00:244:2::/64",
        "ip -6 route add fd00:244:2::/64 via fd00:31::2",
    ),
    "bridge-filter-off": (
        "node",
        "sysctl -qw net.bridge.bridge-nf-call-ip6tables=0",
        "sysctl -qw net.bridge.bridge-nf-call-ip6tables=1",
    ),
    "forward-drop": ("node", "ip6tables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD ACCEPT"),
    "ipv6-accept-ra": (
        "node",
        "ip -6 route add default via fd00:31::9 dev eth0 proto ra",
        "ip -6 route del default via fd00:31::9 dev eth0 proto ra",
    ),
    "wrong-neighbor": (
        "node",
        "ip neigh replace fd00:31::2 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
        "ip neigh del fd00:31::2 dev eth0",
    ),
    "over-masquerade": ("node", f"nft {HIDING}", "nft delete table ip6 other"),
    "rules-wiped": ("node", "nft delete table ip6 podwire-proxy", ""),
    "pod-link": ("pod", "ip -6 route del default", "ip -6 route add default via fd00:244:1::1"),
    "ipv6-disabled": ("node", "sysctl -qw net.ipv6.conf.cni0.disable_ipv6=1", ""),
}
STATES = {
    "dual": ({4, 6}, ["10.244.{}.0/24", "fd00:244:{}::/64"], ["172.31.0.{}", "fd00:31::{}"]),
    "ipv6": ({6}, ["fd00:244:{}::/64"], ["fd00:31::{}"]),
}


def cluster(name: str) -> ClusterState:
    _, cidrs, addresses = STATES[name]
    nodes = tuple(
        Node.read(
            {
                "metadata": {"name": f"node{number}"},
                "spec": {"podCIDRs": [one.format(number) for one in cidrs]},
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": one.format(number)} for one in addresses
                    ]
                },
            }
        )
        for number in (1, 2)
    )
    given = [{"ip": one} for one in ("10.244.1.2", "fd00:244:1::2")[-len(cidrs) :]]
    pod = Pod.read(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"nodeName": "node1", "containers": []},
            "status": {"phase": "Running", "podIPs": given},
        }
    )
    return ClusterState(nodes=nodes, pods=(pod,))


class World:
    """Two nodes without processes; the first has a bridge with a Pod."""

    def __init__(self, spaces: Callable[[str], Space]) -> None:
        self.node, self.other, self.pod = spaces("node"), spaces("other"), spaces("pod")
        self.node.veth("eth0", self.other, "eth0")
        for number, one in ((1, self.node), (2, self.other)):
            far = 3 - number
            one.ip_batch(
                f"addr add 172.31.0.{number}/24 dev eth0",
                f"addr add fd00:31::{number}/64 dev eth0 nodad",
                f"route add 10.244.{far}.0/24 via 172.31.0.{far}",
                f"route add fd00:244:{far}::/64 via fd00:31::{far}",
            )
            one.sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
            for family in ("ip", "ip6"):
                one.run("nft", "-f", "-", stdin=RULES.format(family=family))
        self.node.veth("pod0", self.pod, "eth0")
        self.node.ip_batch(
            "link add cni0 type bridge",
            "link set pod0 master cni0",
            "link set cni0 up",
            "addr add 10.244.1.1/24 dev cni0",
            "addr add fd00:244:1::1/64 dev cni0 nodad",
        )
        self.node.run("bridge", "link", "set", "dev", "pod0", "hairpin", "on")
        self.node.sysctls(
            {
                "net.bridge.bridge-nf-call-iptables": 1,
                "net.bridge.bridge-nf-call-ip6tables": 1,
                "net.ipv6.conf.eth0.accept_ra": 1,
            }
        )
        self.pod.ip_batch(
            "addr add 10.244.1.2/24 dev eth0",
            "addr add fd00:244:1::2/64 dev eth0 nodad",
            "route add default via 10.244.1.1",
            "route add default via fd00:244:1::1",
        )
        places = (("node1", self.node, None), ("node2", self.other, None))
        self.ground = Ground(
            tuple(
                Place(name, os.getpid(), str(space.path), pod)
                for name, space, pod in (*places, ("node1", self.pod, ("default", "web")))
            )
        )

    def snapshot(self) -> Snapshot:
        return take(self.ground, machines=True)

    def run(self, where: str, command: str) -> None:
        if command:
            program, *words = command.split(maxsplit=1)
            space = self.node if where == "node" else self.pod
            given = words if program == "nft" else words[0].split()
            space.run(program, *given)


@pytest.fixture(scope="module")
def world(spaces: Callable[[str], Space]) -> World:
    return World(spaces)


def wrong(snapshot: Snapshot, state: str) -> set[str]:
    found = examine(replace(snapshot, cluster=cluster(state)), "node1")
    return {one.check for one in found if one.level in (Level.WARN, Level.FAIL)}


def test_healthy_nodes_have_no_fault_of_ipv6(world: World) -> None:
    """Nobody runs a proxy here, which is told."""
    snapshot = world.snapshot()
    assert wrong(snapshot, "dual") == wrong(snapshot, "ipv6") == {"proxy-hung"}


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_of_ipv6_is_named(world: World, check: str) -> None:
    where, command, undo = FAULTS[check]
    before = world.snapshot()
    world.run(where, command)
    after = world.snapshot()
    world.run(where, undo)
    for state in STATES:
        assert wrong(after, state) - wrong(before, state) == {check}
