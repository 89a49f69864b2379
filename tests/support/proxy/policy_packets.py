"""Sends the flows of policy worlds through a node, and says which arrived.

Pod ``p`` sends for every Pod of the node, ``b`` receives for all, and the switch is everybody else.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_address

from tests.support.proxy import crafted
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.policy_worlds import NODE, RANGES, PolicyWorld, parts

_SENDER, _RECEIVER, _OUTSIDE = map(ip_address, ("10.244.1.9", "10.244.1.3", "192.168.0.9"))
_VIA = ("10.244.1.3", "fd00:10:244:1::3")
_OTHER_NODE = ("192.168.0.2", "fd00:1::2")
_MARKED = 9  # a port that no policy is about


class PacketTable:
    """The way of packets. Each burst has numbers of its own."""

    def __init__(self, lab: ProxyLab, worlds: Iterable[PolicyWorld]) -> None:
        self._lab = lab
        self._worlds = [*worlds]
        self._numbers = itertools.cycle(range(1024, 65000))
        self._lay_routes()
        self._pod = lab.workers["b"].call(crafted.listen, "eth0")
        lab.workers["p"].call(crafted.listen, "eth0")
        lab.workers["switch"].call(crafted.listen, "node")
        lab.workers["node"].call(crafted.listen_as_node)
        self._bridge, self._uplink = (
            lab.workers["node"].call(crafted.address_of, one) for one in ("podwire0", "eth0")
        )

    def wrong(self) -> list[str] | None:
        """Send every flow once; return those with another fate than theirs, None if marks were
        lost.
        """
        sent: dict[bytes, tuple[PolicyWorld, str]] = {}
        bursts: dict[str, list[bytes]] = defaultdict(list)
        for world in self._worlds:
            for flow in world.flows:
                one = world.packet(flow)
                protocol = str(one.protocol or "")
                ends = (one.source, one.destination)
                data = crafted.packet(*ends, protocol, one.port, next(self._numbers))
                sent[crafted.key(data)] = (world, flow)
                bursts[_way(world, flow)].append(data)
        arrived = self._carry(bursts)
        if arrived is None:
            return None
        return [
            f"{world.name} ({world.half}): {flow} {'arrived' if one in arrived else 'was dropped'}"
            for one, (world, flow) in sent.items()
            if (one in arrived) is not world.flows[flow]
        ]

    def _carry(self, bursts: dict[str, list[bytes]]) -> set[bytes] | None:
        pods, switch, node = (self._lab.workers[one] for one in ("p", "switch", "node"))
        at_pod, at_switch, at_node = (set[bytes]() for _ in range(3))
        own = ip_address(NODE)

        def marked(way: str, source, destination, seen: set[bytes], protocol="UDP") -> list[bytes]:
            mark = crafted.packet(source, destination, protocol, _MARKED, next(self._numbers))
            seen.add(crafted.key(mark))
            return [*bursts[way], mark]

        pods.call(crafted.send, "eth0", self._pod, marked("across", _SENDER, _RECEIVER, at_pod))
        pods.call(crafted.send, "eth0", self._bridge, marked("out", _SENDER, _OUTSIDE, at_switch))
        pods.call(crafted.send, "eth0", self._bridge, marked("up", _SENDER, own, at_node, "TCP"))
        switch.call(crafted.send, "node", self._uplink, marked("in", _OUTSIDE, _RECEIVER, at_pod))
        node.call(crafted.send_as_node, marked("down", own, _RECEIVER, at_pod))
        found = (
            self._lab.workers["b"].call(crafted.collect, "eth0", at_pod),
            switch.call(crafted.collect, "node", at_switch),
            node.call(crafted.collect_as_node, at_node),
        )
        return None if None in found else set().union(*filter(None, found))

    def _lay_routes(self) -> None:
        """Route these Pods to the receiver, and those of the other node to it."""
        node = self._lab.spaces["node"]
        for family, net in zip(("-4", "-6"), RANGES, strict=True):
            node.run("ip", family, "route", "flush", "root", net)
        lines = [f"route replace {net} via {via}" for net, via in zip(RANGES, _VIA, strict=True)]
        for world in self._worlds:
            for pod in world.pods:
                if pod["spec"]["nodeName"] != "n1":
                    for one in pod["status"]["podIPs"]:
                        via = _OTHER_NODE[":" in one["ip"]]
                        lines.append(f"route replace {one['ip']} via {via}")
        node.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def _way(world: PolicyWorld, flow: str) -> str:
    """Return the way of a flow: ``across`` the bridge, or through the node."""
    source, destination = parts(flow)[0]
    if source == "node":
        return "down"
    if destination == "node":
        return "up"
    if not world.is_local(source):
        return "in"
    return "across" if world.is_local(destination) else "out"
