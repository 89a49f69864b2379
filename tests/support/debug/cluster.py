"""A cluster of namespaces without processes: a switch, two nodes with a Pod each."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from debug.places import SWITCH, Ground, Place
from tests.support.space import Space


@dataclass
class Spaces:
    """The namespaces, and the places that they are for debugging."""

    switch: Space
    nodes: tuple[Space, ...]
    pods: tuple[Space, ...]

    @property
    def ground(self) -> Ground:
        places = [_place(SWITCH, self.switch)]
        for number, (node, pod) in enumerate(zip(self.nodes, self.pods, strict=True), start=1):
            places += [_place(f"node{number}", node), _place(f"node{number}", pod, f"web-{number}")]
        return Ground(tuple(places))


def _place(node: str, space: Space, pod: str = "") -> Place:
    return Place(node, os.getpid(), str(space.path), ("default", pod) if pod else None)


def cluster(spaces: Callable[[str], Space]) -> Spaces:
    """Make the namespaces; each Pod reaches the other one."""
    made = Spaces(
        spaces("switch"),
        (spaces("node1"), spaces("node2")),
        (spaces("pod1"), spaces("pod2")),
    )
    made.switch.ip_batch("link add br0 type bridge", "link set br0 up")
    for number, (node, pod) in enumerate(zip(made.nodes, made.pods, strict=True), start=1):
        _connect(made.switch, node, pod, number)
    return made


def _connect(switch: Space, node: Space, pod: Space, number: int) -> None:
    other = 3 - number
    switch.veth(f"to-node{number}", node, "eth0")
    switch.ip("link", "set", f"to-node{number}", "master", "br0")
    node.veth("pod", pod, "eth0")
    node.ip_batch(
        f"addr add 172.31.0.1{number}/24 dev eth0",
        f"addr add 10.244.{number}.1/24 dev pod",
        "link add tun type vxlan id 7 dstport 4789 dev eth0 nolearning",
        "link set tun up",
        f"route add 10.244.{other}.0/24 via 172.31.0.1{other}",
    )
    node.run(
        *("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "tun"),
        *("dst", f"172.31.0.1{other}"),
    )
    node.sysctl("net.ipv4.ip_forward", 1)
    pod.ip_batch(
        f"addr add 10.244.{number}.2/24 dev eth0", f"route add default via 10.244.{number}.1"
    )
