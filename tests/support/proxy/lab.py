"""A small cluster for proxy tests: one node with a proxy to be tested, and who talks to it.

    outside .9 ─┐            ┌─ node .1 ─ podwire0 ─ a, b, p
                ├─ switch .254            10.244.1.0/24
                └─ other .2 ─ c, d        10.244.2.0/24

The LAN is 192.168.0.0/24 and fd00:1::/64. The switch is everybody's way out, and forwards nothing.
"""

import subprocess
from collections.abc import Callable

from tests.support.cni.worker import Worker
from tests.support.proxy.prober import serve
from tests.support.proxy.world import PORT
from tests.support.space import Space

LAN = {4: "192.168.0.{}/24", 6: "fd00:1::{}/64"}
PODS = {4: "10.244.{}.{}/24", 6: "fd00:10:244:{}::{}/64"}
VIPS = {
    4: ("10.96.0.0/16", "198.51.100.0/24", "203.0.113.0/24"),
    6: ("fd00:10:96::/112", "2001:db8:1::/112", "2001:db8:2::/112"),
}
_PLACES = {"pod": "p", "self": "a", "node": "node", "remote": "d", "outside": "outside"}


class ProxyLab:
    """The cluster. ``workers`` have the names of the picture."""

    def __init__(self, make: Callable[[str], Space]) -> None:
        # What some back ends need to have pods of one bridge answer each other by the node's rules.
        subprocess.run(["modprobe", "--quiet", "br_netfilter"], check=False)
        names = ("switch", "node", "other", "outside", "a", "b", "p", "c", "d")
        self.spaces = {name: make(name) for name in names}
        self._lay_lan()
        call_filter(self.spaces["node"], False)
        self._lay_pods("node", 1, {"a": 2, "b": 3, "p": 9})
        self._lay_pods("other", 2, {"c": 2, "d": 9})
        self._route()
        self.workers = {name: Worker(space) for name, space in self.spaces.items()}
        for name in "abc":
            self.workers[name].call(serve, name.upper(), PORT)

    def client(self, source: str) -> Worker:
        """Return the worker that sends as the fate table's ``source``."""
        return self.workers[_PLACES[source]]

    def space(self, source: str) -> Space:
        """Return the namespace of the fate table's ``source``."""
        return self.spaces[_PLACES[source]]

    def stop(self) -> None:
        """End the workers. The fixture that made the namespaces removes them."""
        for worker in self.workers.values():
            worker.stop()

    def _lay_lan(self) -> None:
        switch = self.spaces["switch"]
        switch.ip_batch(*_bridge("lan", [text.format("254") for text in LAN.values()]))
        for name, number in (("node", 1), ("other", 2), ("outside", 9)):
            space = self.spaces[name]
            switch.veth(name, space, "eth0")
            switch.ip("link", "set", name, "master", "lan")
            addresses = [text.format(number) for text in LAN.values()]
            space.ip_batch(
                *_addresses("eth0", addresses),
                "route add 0.0.0.0/0 via 192.168.0.254",
                "route add ::/0 via fd00:1::254",
            )

    def _lay_pods(self, node: str, subnet: int, pods: dict[str, int]) -> None:
        home = self.spaces[node]
        home.sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        home.ip_batch(*_bridge("podwire0", [text.format(subnet, 1) for text in PODS.values()]))
        for name, number in pods.items():
            home.veth(f"veth{name}", self.spaces[name], "eth0")
            home.ip_batch(
                f"link set veth{name} master podwire0",
                f"link set veth{name} type bridge_slave hairpin on",
            )
            self.spaces[name].ip_batch(
                *_addresses("eth0", [text.format(subnet, number) for text in PODS.values()]),
                f"route add 0.0.0.0/0 via 10.244.{subnet}.1",
                f"route add ::/0 via fd00:10:244:{subnet}::1",
            )

    def _route(self) -> None:
        """Add routes: Pods reach each other; outside reaches Services and the node's bridge
        address.
        """
        routes: dict[str, list[str]] = {"node": [], "other": [], "outside": []}
        for version, subnet in ((4, "10.244.{}.0/24"), (6, "fd00:10:244:{}::/64")):
            lan = LAN[version].partition("/")[0]
            routes["node"].append(f"{subnet.format(2)} via {lan.format(2)}")
            routes["other"].append(f"{subnet.format(1)} via {lan.format(1)}")
            bridge = PODS[version].format(1, 1).partition("/")[0]
            routes["outside"].append(f"{bridge} via {lan.format(1)}")
            for name in ("other", "outside"):
                routes[name] += [f"{vip} via {lan.format(1)}" for vip in VIPS[version]]
        for name, those in routes.items():
            self.spaces[name].ip_batch(*(f"route add {route}" for route in those))
        for space in self.spaces.values():
            space.sysctls(_REJECTS | _no_redirects(space))


def call_filter(node: Space, called: bool) -> None:
    """Have all bridges of a node pass their frames to its rules, or leave that to each bridge.

    A new network namespace begins with the first.
    """
    node.sysctls({f"net.bridge.bridge-nf-call-{ip}tables": int(called) for ip in ("ip", "ip6")})


# With these, a kernel sends an ICMP error for each packet that it rejects. By default it sends one
# a second to an address, and, whatever icmp_ratelimit says, 50 at once of the types that the masks
# name; 127 is an experiment's type. Source: Documentation/networking/ip-sysctl.rst.
_REJECTS: dict[str, int | str] = {
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.icmp_ratemask": 0,
    "net.ipv6.icmp.ratelimit": 0,
    "net.ipv6.icmp.ratemask": 127,
}


def _no_redirects(space: Space) -> dict[str, int | str]:
    """Return sysctls that let a space send to a Service by its route alone.

    While nobody serves it, the node sends its packets back to the LAN, and tells who sent them to
    go to the switch at once (RFC 1122, 3.2.2.2). Who follows is silent for five minutes, whatever
    rules come. ``all`` counts for IPv4 that does not forward, each link's own for IPv6.
    """
    links = (line.split()[1].partition("@")[0] for line in space.ip("-o", "link").splitlines())
    names = ["all", *(link.rstrip(":") for link in links)]
    keys = (f"net.{family}.conf.{name}" for family in ("ipv4", "ipv6") for name in names)
    return {f"{key}.accept_redirects": 0 for key in keys}


def _bridge(name: str, addresses: list[str]) -> list[str]:
    """Return lines for ``ip -batch`` that make a bridge."""
    return [f"link add {name} type bridge", f"link set {name} up", *_addresses(name, addresses)]


def _addresses(link: str, addresses: list[str]) -> list[str]:
    """Return lines for ``ip -batch`` that give a link addresses, at once usable."""
    return [f"address add {one} dev {link}{' nodad' * (':' in one)}" for one in addresses]
