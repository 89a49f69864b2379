"""The node network with real packets: three nodes on a switch, a Pod's namespace behind each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from control.agent.network.plan import pod_mtu, peer, Uplink
from control.agent.network.render import conflist
from control.api.node import Node

_APPLY = """
import json, sys
from pathlib import Path
from control.agent.network.kernel import Kernel
from control.agent.network.plan import peer, plan
from control.api.node import Node
name, overlay, nodes = json.load(sys.stdin)
peers = [peer(Node.parse(node)) for node in nodes]
kernel = Kernel()
own = next((it for it in peers if it.name == name), None)
if own is None:
    kernel.remove()
else:
    kernel.apply(plan(own, peers, overlay, kernel.uplink(own.addresses)))
"""


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
        """What the CNI plugin would make: a bridge, a cable, addresses, a default route."""
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
        data = json.dumps([self.name if name is None else name, overlay, nodes])
        self.space.run(sys.executable, "-c", _APPLY, stdin=data)

    def ping(self, address: str, *options: str) -> bool:
        return " 0% packet loss" in self.pod.run(
            "ping", "-c2", "-i0.2", "-W2", *options, address, check=False
        )


@pytest.fixture(scope="module")
def machines(spaces):
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    switch.ip("addr", "add", "172.31.0.254/24", "dev", "br0")
    return [Machine(spaces, switch, number) for number in (1, 2, 3)], switch


NODES = [node(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("overlay", ["routes", "vxlan"])
def test_pods_reach_each_other(machines, overlay):
    everyone, _ = machines
    for machine in everyone:
        machine.apply(overlay, NODES)
        machine.apply(overlay, NODES)
    for machine in everyone:
        for other in everyone:
            assert machine.ping(f"10.244.{other.number}.2")
            assert machine.ping(f"fd00:244:{other.number}::2")
