"""A machine of the node network: namespaces of a node and of a Pod behind it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from control.api.node import Node
from control.linux import syscalls
from control.node_network.kernel import NodeNetworkKernel
from control.node_network.plan import peer, plan


def node(number: int) -> dict:
    return {
        "metadata": {"name": f"n{number}"},
        "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"172.31.0.{number}"},
                {"type": "InternalIP", "address": f"fd00:31::{number}"},
                {"type": "Hostname", "address": f"n{number}"},
            ]
        },
    }


def inside(space: Path, work: Callable[[], None]) -> None:
    """Run a function in a thread that has entered the namespace."""

    def enter() -> None:
        with space.open() as descriptor:
            syscalls.setns(descriptor.fileno(), syscalls.CLONE_NEWNET)
        work()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(enter).result()


class Machine:
    def __init__(self, spaces, switch, number: int) -> None:
        self.number, self.name = number, f"n{number}"
        self.space, self.pod = spaces(self.name), spaces(f"pod{number}")
        self.space.veth("eth0", switch, f"p{number}")
        switch.ip("link", "set", f"p{number}", "master", "br0")
        self.space.ip("addr", "add", f"172.31.0.{number}/24", "dev", "eth0")
        self.space.ip("addr", "add", f"fd00:31::{number}/64", "dev", "eth0", "nodad")
        self.space.ip("route", "add", "default", "via", "172.31.0.254")
        self._lay_pod()

    def _lay_pod(self) -> None:
        """Make what the CNI plugin would make: a bridge, a cable, addresses, a default route."""
        n = self.number
        self.space.ip("link", "add", "podwire0", "type", "bridge")
        self.space.ip("link", "set", "podwire0", "up")
        self.space.ip("addr", "add", f"10.244.{n}.1/24", "dev", "podwire0")
        self.space.ip("addr", "add", f"fd00:244:{n}::1/64", "dev", "podwire0", "nodad")
        self.pod.veth("eth0", self.space, "v0")
        self.space.ip("link", "set", "v0", "master", "podwire0")
        self.pod.ip("addr", "add", f"10.244.{n}.2/24", "dev", "eth0")
        self.pod.ip("addr", "add", f"fd00:244:{n}::2/64", "dev", "eth0", "nodad")
        self.pod.ip("route", "add", "default", "via", f"10.244.{n}.1")
        self.pod.ip("route", "add", "default", "via", f"fd00:244:{n}::1")

    def apply(self, overlay: str, nodes: list[dict], name: str | None = None) -> None:
        """Apply the plan as this node's agent does; for the name of no node, as --cleanup does."""
        peers = [peer(Node.parse(item)) for item in nodes]
        own = next((it for it in peers if it.name == (name or self.name)), None)
        kernel = NodeNetworkKernel()

        def work() -> None:
            if own is None:
                kernel.remove()
            else:
                kernel.apply(plan(own, peers, overlay, kernel.uplink(own.addresses)))

        inside(self.space.path, work)

    def state(self) -> str:
        """Return links, addresses, routes, neighbors and rules: all that could have changed."""
        lists = [("-o", "link"), ("-o", "addr"), ("route",), ("-6", "route")]
        shown = [self.space.ip(*words) for words in lists]
        shown += [self.space.run("nft", "list", "ruleset"), self.space.run("bridge", "fdb")]
        if "podwire-vxlan" in shown[0]:
            shown.append(self.space.ip("neigh", "show", "dev", "podwire-vxlan", "nud", "permanent"))
        lines = (line.split(" expires ")[0] for text in shown for line in text.splitlines())
        return "\n".join(sorted(lines))

    def ping(self, address: str, *options: str) -> bool:
        return " 0% packet loss" in self.pod.run(
            "ping", "-c2", "-i0.2", "-W2", *options, address, check=False
        )


NODES = [node(number) for number in (1, 2, 3)]
