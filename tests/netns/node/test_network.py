"""The node network with real packets: three nodes on a switch, a Pod's namespace behind each."""

import subprocess
import sys

import pytest

from tests.support.control.machines import NODES, Machine


@pytest.fixture(scope="module")
def machines(spaces):
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    switch.ip("addr", "add", "172.31.0.254/24", "dev", "br0")
    return [Machine(spaces, switch, number) for number in (1, 2, 3)], switch


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
    connect = f"import socket; socket.create_connection(('{address}', 7000), 60)"
    client.run(sys.executable, "-c", connect)
    return process.communicate(timeout=60)[0].strip()


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
