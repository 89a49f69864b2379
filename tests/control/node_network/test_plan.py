"""The node network as a value: routes, tunnels, MTUs, masquerading, the CNI file."""

import json
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.node import Node
from control.node_network.plan import (
    DEVICE,
    Forwarding,
    Neighbor,
    NetworkPlan,
    Peer,
    Route,
    Uplink,
    differ,
    peer,
    plan,
    pod_mtu,
    tunnel_mac,
)
from control.node_network.render import conflist, nft_script

UPLINK = Uplink("eth0", 1500)


def member(number, *, v4=True, v6=False):
    addresses, cidrs = [], []
    if v4:
        addresses.append(ip_address(f"172.31.0.{number}"))
        cidrs.append(ip_network(f"10.244.{number}.0/24"))
    if v6:
        addresses.append(ip_address(f"fd00:31::{number}"))
        cidrs.append(ip_network(f"fd00:244:{number}::/64"))
    return Peer(f"n{number}", tuple(addresses), tuple(cidrs))


ONE, TWO = member(1), member(2)


def test_a_node_object_as_a_peer():
    node = Node.parse(
        {
            "metadata": {"name": "n"},
            "spec": {"podCIDR": "10.1.0.0/24"},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "n"},
                    {"type": "InternalIP", "address": "bad"},
                    {"type": "InternalIP", "address": "172.31.0.9"},
                ]
            },
        }
    )
    assert peer(node) == Peer("n", (ip_address("172.31.0.9"),), (ip_network("10.1.0.0/24"),))


def test_routes_go_through_the_nodes():
    found = plan(ONE, [ONE, TWO], "routes", UPLINK)
    assert found.routes == {Route(TWO.cidrs[0], TWO.addresses[0], "eth0")}
    assert found.tunnel is None
    assert dict(found.sysctls)["net/ipv4/ip_forward"] == "1"
    assert not any("ipv6" in key for key, _ in found.sysctls)


def test_nothing_is_done_before_there_are_pod_ranges():
    assert plan(Peer("n1", ONE.addresses, ()), [TWO], "routes", UPLINK) == NetworkPlan()


def test_a_tunnel_has_entries_for_every_node():
    found = plan(ONE, [ONE, TWO], "vxlan", UPLINK)
    mac = tunnel_mac(TWO.addresses[0])
    gateway = ip_address("10.244.2.0")
    assert found.routes == {Route(TWO.cidrs[0], gateway, DEVICE, onlink=True)}
    assert found.tunnel.neighbors == {Neighbor(gateway, mac)}
    assert found.tunnel.forwarding == {Forwarding(mac, TWO.addresses[0])}
    assert found.tunnel.addresses == {ip_address("10.244.1.0")}
    assert found.tunnel.mac == tunnel_mac(ONE.addresses[0]) and found.tunnel.mtu == 1450


def test_ipv6_goes_through_the_same_tunnel():
    one, two = member(1, v6=True), member(2, v6=True)
    found = plan(one, [one, two], "vxlan", UPLINK)
    six = next(route for route in found.routes if route.cidr.version == 6)
    assert six.via.is_link_local and not six.onlink
    assert Neighbor(six.via, tunnel_mac(two.addresses[0])) in found.tunnel.neighbors
    assert len(found.tunnel.forwarding) == 1
    assert found.tunnel.local.version == 4
    assert dict(found.sysctls)["net/ipv6/conf/all/forwarding"] == "1"


@pytest.mark.parametrize(
    ("own", "overlay", "mtu"),
    [(ONE, "routes", 1500), (ONE, "vxlan", 1450), (member(1, v4=False, v6=True), "vxlan", 1430)],
)
def test_mtu(own, overlay, mtu):
    assert pod_mtu(own, overlay, UPLINK) == mtu


def test_families_do_not_mix():
    six = member(2, v4=False, v6=True)
    assert plan(ONE, [ONE, six], "routes", UPLINK).routes == frozenset()
    assert plan(ONE, [ONE, six], "vxlan", UPLINK).routes == frozenset()


@given(st.permutations(range(1, 7)), st.sampled_from(["routes", "vxlan"]))
def test_the_order_of_nodes_does_not_matter(order, overlay):
    everyone = [member(number, v6=True) for number in order]
    straight = [member(number, v6=True) for number in range(1, 7)]
    assert plan(straight[0], everyone, overlay, UPLINK) == plan(
        straight[0], straight, overlay, UPLINK
    )


@given(st.ip_addresses())
def test_tunnel_macs_are_local_and_unicast(address):
    first = int(tunnel_mac(address).split(":")[0], 16)
    assert first & 0b10 and not first & 0b1


def test_masquerading_excludes_the_cluster():
    cluster = (ip_network("10.244.0.0/16"), ip_network("fd00:244::/32"))
    text = nft_script(plan(member(1, v6=True), [], "routes", UPLINK, cluster).masquerade)
    assert (
        "ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } "
        "masquerade fully-random"
    ) in text
    assert "ip6 saddr { fd00:244:1::/64 } ip6 daddr != { fd00:244::/32, ff00::/8 }" in text
    assert text.startswith("add table inet podwire_node\ndelete table inet podwire_node\n")


def test_without_masquerading_there_is_no_table():
    assert nft_script(None) == "add table inet podwire_node\ndelete table inet podwire_node\n"


def test_nft_accepts_the_script():
    script = nft_script(plan(member(1, v6=True), [TWO], "routes", UPLINK).masquerade)
    done = subprocess.run(["nft", "-c", "-f", "-"], input=script, text=True, capture_output=True)
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr


def test_the_cni_network():
    value = json.loads(conflist(member(1, v6=True).cidrs, 1450))
    (plugin,) = value["plugins"]
    assert value["cniVersion"] == "1.0.0" and "1.1.0" in value["cniVersions"]
    assert plugin["mtu"] == 1450 and plugin["isDefaultGateway"]
    assert plugin["ipam"]["ranges"] == [
        [{"subnet": "10.244.1.0/24"}],
        [{"subnet": "fd00:244:1::/64"}],
    ]


def node_with(*, address="172.31.0.1", cidr="10.244.1.0/24", ready="True"):
    return Node.model_validate(
        {
            "metadata": {"name": "n1"},
            "spec": {"podCIDR": cidr},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, node_with(), True),
        (node_with(), None, True),
        (None, node_with(cidr=None), False),
        (node_with(cidr=None), node_with(), True),
        (node_with(), node_with(ready="False"), False),
        (node_with(), node_with(address="172.31.0.2"), True),
        (node_with(), node_with(cidr="10.244.2.0/24"), True),
    ],
    ids=["comes", "goes", "no range yet", "gets a range", "status", "address", "range"],
)
def test_only_a_change_of_addresses_and_ranges_concerns_the_network(old, new, expected):
    assert differ(old, new) is expected
