"""The node network with real packets: three nodes on a switch, a Pod's namespace behind each."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control.api.node import Node
from control.linux import syscalls
from control.node_network.kernel import NodeNetworkKernel
from control.node_network.plan import NetworkPlan, peer, plan


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


@pytest.fixture(scope="module")
def machines(spaces):
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    switch.ip("addr", "add", "172.31.0.254/24", "dev", "br0")
    return [Machine(spaces, switch, number) for number in (1, 2, 3)], switch


NODES = [node(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("overlay", ["routes", "vxlan", "routes"])
def test_pods_reach_each_other_also_after_a_change_of_overlay(machines, overlay):
    everyone, _ = machines
    for machine in everyone:
        machine.apply(overlay, NODES)
    for machine, other in zip(everyone, everyone[1:] + everyone[:1], strict=True):
        assert machine.ping(f"10.244.{other.number}.2")
        assert machine.ping(f"fd00:244:{other.number}::2")


def test_a_second_pass_changes_nothing(machines):
    first = machines[0][0]
    for overlay in ("vxlan", "routes"):
        first.apply(overlay, NODES)
        before = first.state()
        first.apply(overlay, NODES)
        assert first.state() == before


def test_packets_as_long_as_the_computed_mtu_fit_the_tunnel(machines):
    everyone, _ = machines
    for machine in everyone:
        machine.apply("vxlan", NODES)
    # 28 bytes of IP and ICMP; 1450 is the tunnel's MTU over IPv4
    assert everyone[0].ping("10.244.2.2", "-Mdo", f"-s{1450 - 28}")
    assert not everyone[0].ping("10.244.2.2", "-Mdo", f"-s{1451 - 28}")


def test_the_routes_of_a_deleted_node_are_removed(machines):
    first = machines[0][0]
    for overlay in ("routes", "vxlan"):
        first.apply(overlay, NODES)
        assert "10.244.3.0/24" in first.space.ip("route")
        first.apply(overlay, NODES[:2])
        assert "10.244.3.0/24" not in first.space.ip("route")
        assert "10.244.2.0/24" in first.space.ip("route")
        first.apply(overlay, NODES)


def test_pods_are_masqueraded_only_outside_the_cluster(machines):
    everyone, switch = machines
    for machine in everyone:
        machine.apply("routes", NODES)
    assert everyone[0].ping("172.31.0.254")  # the switch has no route to Pods, only to nodes
    assert seen_by(everyone[1].pod, everyone[0].pod, "10.244.2.2") == "10.244.1.2"
    assert seen_by(switch, everyone[0].pod, "172.31.0.254") == "172.31.0.1"


def seen_by(server, client, address):
    """Return the source address with which a connection arrives."""
    script = (
        "import socket; s = socket.create_server(('', 7000)); print('up', flush=True); "
        "print(s.accept()[1][0])"
    )
    argv = server.argv(sys.executable, "-c", script)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    connect = f"import socket; socket.create_connection(('{address}', 7000), 5)"
    client.run(sys.executable, "-c", connect)
    return process.communicate(timeout=10)[0].strip()


def test_only_our_own_objects_change_and_removal_is_complete(machines):
    first = machines[0][0]
    first.apply("routes", [], "nobody")
    first.space.ip("route", "add", "192.0.2.0/24", "via", "172.31.0.254")
    first.space.run("nft", "add", "table", "inet", "theirs")
    clean = first.state()
    for overlay in ("routes", "vxlan"):
        first.apply(overlay, NODES)
        assert first.state() != clean
        first.apply(overlay, NODES, "nobody")
        first.apply(overlay, NODES, "nobody")
        assert first.state() == clean
    first.space.ip("route", "del", "192.0.2.0/24")


@pytest.mark.parametrize(
    "address", ["fd00:9::9/64", "fe80::dead/64", "10.9.9.9/24", "fd00:9::a/128", "fe80::beef/10"]
)
def test_an_earlier_address_of_the_tunnel_is_removed(machines, address):
    first = machines[0][0]
    first.apply("vxlan", NODES)
    clean = first.space.ip("-o", "address", "show", "dev", "podwire-vxlan")
    first.space.ip("address", "add", address, "dev", "podwire-vxlan", "nodad")
    first.apply("vxlan", NODES)
    assert first.space.ip("-o", "address", "show", "dev", "podwire-vxlan") == clean


def test_an_address_of_another_length_is_replaced(machines):
    first = machines[0][0]
    first.apply("vxlan", NODES)
    clean = sorted(first.space.ip("-o", "address", "show", "dev", "podwire-vxlan").splitlines())
    (six,) = (line.split()[3] for line in clean if "inet6" in line)
    first.space.ip("address", "del", six, "dev", "podwire-vxlan")
    first.space.ip("address", "add", six.replace("/64", "/128"), "dev", "podwire-vxlan", "nodad")
    first.apply("vxlan", NODES)
    shown = sorted(first.space.ip("-o", "address", "show", "dev", "podwire-vxlan").splitlines())
    assert [line.split()[3] for line in shown] == [line.split()[3] for line in clean]


def test_a_kernel_without_bridge_filter_is_reported_once(spaces, caplog):
    want = NetworkPlan(sysctls=(("net/bridge/bridge-nf-call-nothing", "1"),))

    def apply() -> None:
        for _ in range(3):
            NodeNetworkKernel().apply(want)

    inside(spaces("alone").path, apply)
    (record,) = (it for it in caplog.records if "bridge-nf-call-nothing" in it.message)
    assert record.levelname == "WARNING"
    assert record.message.endswith("modprobe br_netfilter")
