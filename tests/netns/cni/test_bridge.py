"""Mode bridge, with real packets.

With a warm server, which is faster; that the plugin does the same without one is for the
conformance table to say.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cni.runner import PYTHON_CLIENT, ROOT, Node

DUAL = ("10.1.0.0/24", "fd00:1::/64")


def test_pods_reach_each_other_and_their_gateway_right_after_add(node, pod):
    one, other = pod(), pod()
    conf = node.conf(ipam=node.ipam(*DUAL))
    result = node.add(one, conf)
    node.add(other, conf)
    assert one.addresses() == {item["address"] for item in result["ips"]}
    for address in [item["gateway"] for item in result["ips"]]:
        assert one.reaches(address)
    for address in other.addresses():
        assert one.reaches(address.partition("/")[0])
    for each in (one, other):
        node.delete(each, conf)
    assert set(node.links()) == {"pw0"}
    assert node.reservations() == {}


def test_the_result_is_true(node, pod):
    one = pod()
    conf = node.conf(mtu=1400, ipam=node.ipam(*DUAL))
    result = node.add(one, conf)
    bridge, host, inside = result["interfaces"]
    assert bridge == {"name": "pw0", "mac": node.links()["pw0"]["address"]}
    seen = node.links()[host["name"]]
    assert (seen["address"], seen["mtu"], seen["master"]) == (host["mac"], 1400, "pw0")
    assert seen["ifalias"] == f"podwire net eth0 {one.container_id}"
    link = one.link()
    assert inside == {
        "name": "eth0",
        "mac": link["address"],
        "sandbox": str(one.space.path),
        "mtu": link["mtu"],
    }
    routes = json.loads(one.space.ip("-j", "route")) + json.loads(one.space.ip("-6", "-j", "route"))
    assert {route["gateway"] for route in routes if route["dst"] == "default"} == {
        item["gw"] for item in result["routes"]
    }
    node.delete(one, conf)


def test_a_second_add_is_refused_and_changes_nothing(node, pod):
    one = pod()
    before = node.add(one)
    again = node.call("ADD", one)
    assert again.code == 1
    assert again.document["code"] == 7
    assert one.addresses() == {before["ips"][0]["address"]}
    assert len(node.reservations()) == 1
    assert node.call("CHECK", one, node.conf(prevResult=before)).ok()
    node.delete(one)


def test_del_works_without_the_namespace(node, pod):
    one = pod()
    node.add(one)
    node.delete(one, netns=None)
    assert set(node.links()) == {"pw0"}
    assert node.reservations() == {}
    for netns in (None, "", "/run/netns/vanished", "/etc/passwd", str(one.space.path)):
        node.delete(one, netns=netns)


def test_del_removes_another_plugins_interface_of_the_name(node, pod):
    one = pod()
    one.space.ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    node.delete(one)
    assert "eth0" not in one.space.ip("link")


def test_bridge_keeps_its_mac_as_ports_come_and_go(node, pod):
    first, second = pod(), pod()
    node.add(first)
    mac = node.links()["pw0"]["address"]
    lowest = ("address", "02:00:00:00:00:01")
    node.space.ip("link", "add", "low", *lowest, "type", "veth", "peer", "name", "low2")
    node.space.ip("link", "set", "low", "master", "pw0", "up")
    node.add(second)
    assert node.links()["pw0"]["address"] == mac
    node.space.ip("link", "del", "low")
    for each in (first, second):
        node.delete(each)


def test_the_runtimes_mac_comes_before_all_others(node, pod):
    args = {"cni": {"mac": "02:00:00:00:00:0b"}}
    runtime = {"mac": "02:00:00:00:00:0c"}
    for conf, expected in (
        (node.conf(), "02:00:00:00:00:0a"),
        (node.conf(args=args), "02:00:00:00:00:0b"),
        (node.conf(args=args, runtimeConfig=runtime), "02:00:00:00:00:0c"),
    ):
        one = pod()
        result = node.add(one, conf, args="IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:0A")
        assert result["interfaces"][2]["mac"] == one.link()["address"] == expected
        node.delete(one, conf)


def test_the_next_pod_with_an_address_is_reached_at_once(node, pod):
    """Neighbors that remember the address's previous Pod reach the next one."""
    watcher, before, after = pod(), pod(), pod()
    asks = {"ips": ["10.1.0.77"]}
    conf = node.conf(runtimeConfig=asks)
    node.add(watcher)
    node.add(before, conf)
    assert watcher.reaches("10.1.0.77")
    node.delete(before, conf)
    # even with a MAC that the neighbors do not expect
    conf["runtimeConfig"] = asks | {"mac": "02:00:00:00:00:77"}
    node.add(after, conf)
    assert watcher.reaches("10.1.0.77")
    for each in (watcher, after):
        node.delete(each)


@pytest.mark.parametrize(
    "fault",
    [
        ("pod", "link set eth0 down"),
        ("pod", "address flush dev eth0 scope global"),
        ("pod", "route del default"),
        ("pod", "link set eth0 address 02:00:00:00:00:99"),
        ("host", "link set {host} down"),
        ("host", "link set {host} nomaster"),
        ("host", "link set {host} type bridge_slave hairpin off"),
        ("host", "address flush dev pw0 scope global"),
        ("host", "link set pw0 down"),
    ],
)
def test_check_reports_each_fault(node, pod, fault):
    one = pod()
    result = node.add(one)
    conf = node.conf(prevResult=result)
    node.call("CHECK", one, conf).ok()
    where, command = fault
    space = one.space if where == "pod" else node.space
    space.ip(*command.format(host=result["interfaces"][1]["name"]).split())
    found = node.call("CHECK", one, conf)
    assert (found.code, found.document["code"]) == (1, 101), fault
    node.space.ip("link", "set", "pw0", "up")
    node.delete(one)


def test_check_reports_forwarding_off_and_a_lost_reservation(node, pod):
    one = pod()
    result = node.add(one)
    conf = node.conf(prevResult=result)
    node.space.sysctl("net.ipv4.ip_forward", 0)
    assert "forward" in node.call("CHECK", one, conf).document["msg"]
    node.space.sysctl("net.ipv4.ip_forward", 1)
    (node.data / "net" / result["ips"][0]["address"].partition("/")[0]).unlink()
    assert "reservation" in node.call("CHECK", one, conf).document["msg"]
    node.delete(one)


def test_force_address_replaces_the_bridge_address(node, pod):
    one, other = pod(), pod()
    here = node.conf(bridge="forced", ipam=node.ipam("10.3.0.0/24"))
    node.add(one, here)
    elsewhere = node.conf(bridge="forced", name="other", ipam=node.ipam("10.2.0.0/24"))
    refused = node.call("ADD", other, elsewhere)
    assert refused.document["code"] == 7
    assert node.reservations("other") == {}
    assert "eth0" not in other.space.ip("link")
    forced = elsewhere | {"forceAddress": True}
    node.add(other, forced)
    assert other.reaches("10.2.0.1")
    node.delete(one, here)
    node.delete(other, forced)


def test_a_bridge_without_addresses(node, pod):
    one, other = pod(), pod()
    conf = node.conf(bridge="l2", isDefaultGateway=None, ipam=None)
    for each, address in ((one, "192.0.2.1/24"), (other, "192.0.2.2/24")):
        result = node.add(each, conf)
        assert "ips" not in result
        each.space.ip("address", "add", address, "dev", "eth0")
    assert one.reaches("192.0.2.2")
    node.call("CHECK", one, conf | {"prevResult": result}, ifname="eth0")
    for each in (one, other):
        node.delete(each, conf)


def test_two_hundred_concurrent_adds_twice(node, pod):
    """One bridge, unique addresses, no failure, and after DEL nothing is left."""
    node.plugin = ROOT / "build/podwire-cni"
    conf = node.conf(bridge="many", name="crowd")
    ends = [(each, name) for each in [pod() for _ in range(100)] for name in ("eth0", "net1")]
    with ThreadPoolExecutor(200) as pool:
        for _ in range(2):
            results = list(pool.map(lambda end: node.add(end[0], conf, ifname=end[1]), ends))
            assert len({item["address"] for result in results for item in result["ips"]}) == 200
            assert {result["interfaces"][0]["mac"] for result in results} == {
                node.links()["many"]["address"]
            }
            list(pool.map(lambda end: node.delete(end[0], conf, ifname=end[1]), ends))
            assert set(node.links()) <= {"pw0", "l2", "forced", "many", "br8"}
            assert node.reservations("crowd") == {}
    node.plugin = PYTHON_CLIENT


def test_a_pod_cannot_spoof_its_mac(node, pod):
    one, other = pod(), pod()
    conf = node.conf(bridge="br8", name="strict", macspoofchk=True, ipam=node.ipam("10.8.0.0/24"))
    result = node.add(one, conf)
    node.add(other, conf)
    node.call("CHECK", one, conf | {"prevResult": result}).ok()
    address = sorted(other.addresses())[0].partition("/")[0]
    assert one.reaches(address)
    one.space.ip("link", "set", "eth0", "address", "02:00:00:00:00:66")
    assert not one.reaches(address)
    for each in (one, other):
        node.delete(each, conf)


@pytest.mark.parametrize("mode", ["bridge", "ptp"])
def test_add_waits_for_duplicate_address_detection(node, pod, mode):
    one = pod()
    conf = node.conf(
        enabledad=True,
        mode=mode,
        bridge="dad0",
        name="dad",
        ipam=node.ipam("10.12.0.0/24", "fd00:12::/64"),
    )
    result = node.add(one, conf)
    assert "tentative" not in one.space.ip(
        "-6", "address", "show", "dev", "eth0", "scope", "global"
    )
    node.call("CHECK", one, conf | {"prevResult": result}).ok()
    node.delete(one, conf)


def test_a_duplicate_address_is_refused(node, pod):
    one, squatter = pod(), pod()
    conf = node.conf(enabledad=True, bridge="dad1", name="dad", ipam=node.ipam("fd00:13::/64"))
    layer_two = node.conf(bridge="dad1", name="squat", ipam=None, isDefaultGateway=None)
    node.add(squatter, layer_two)
    squatter.space.ip("address", "add", "fd00:13::2/64", "dev", "eth0", "nodad")
    refused = node.call("ADD", one, conf).document
    assert refused["code"] == 100
    assert "fd00:13::2/64" in refused["msg"]
    assert node.reservations("dad") == {}
    assert "eth0" not in one.space.ip("link")
    node.delete(squatter, layer_two)


def test_ipv6_addresses_survive_a_link_that_goes_down_and_up(node, pod):
    one = pod()
    one.space.sysctl("net.ipv6.conf.all.disable_ipv6", 1)  # as some runtimes set it
    conf = node.conf(ipam=node.ipam(*DUAL))
    node.add(one, conf)
    before = one.addresses()
    assert one.reaches("::1")
    for state in ("down", "up"):
        one.space.ip("link", "set", "eth0", state)
    assert one.addresses() == before
    node.delete(one, conf)


def test_unsupported_fields_are_refused(node, pod):
    conf = node.conf(ipMasqBackend="ipchains", ipMasq=True)
    assert node.call("ADD", pod(), conf).document["code"] == 2
    assert node.reservations() == {}


def test_reservations_have_host_locals_form(node, pod):
    one = pod()
    address = node.add(one)["ips"][0]["address"].partition("/")[0]
    assert node.reservations() == {address: f"{one.container_id}\r\neth0"}
    assert (node.data / "net" / "last_reserved_ip.0").read_text() == address
    node.delete(one)
    assert node.reservations() == {}


@pytest.mark.parametrize("mode", ["bridge", "ptp"])
def test_full_size_packets_pass_the_tunnel_to_other_nodes(node, pod, spaces, mode):
    """Without ``mtu`` a Pod's packets fit into the node's VXLAN, not only the uplink."""
    one, uplink = pod(), f"up{mode}"
    other = spaces("other")
    node.space.veth(uplink, other, "eth0")
    for space, name, last in ((node.space, uplink, 1), (other, "eth0", 2)):
        space.ip("address", "add", f"192.0.2.{last}/24", "dev", name)
        space.ip(
            "link",
            "add",
            "tunnel",
            "mtu",
            "1450",
            "type",
            "vxlan",
            "id",
            "7",
            "dstport",
            "4789",
            "local",
            f"192.0.2.{last}",
            "remote",
            f"192.0.2.{3 - last}",
        )
        space.ip("address", "add", f"198.51.100.{last}/24", "dev", "tunnel")
        space.ip("link", "set", "tunnel", "up")
    node.space.ip("route", "add", "default", "via", "192.0.2.2")
    other.ip("route", "add", "10.19.0.0/24", "via", "198.51.100.1")
    conf = node.conf(mode=mode, bridge="tunnelled", ipam=node.ipam("10.19.0.0/24"))
    result = node.add(one, conf)
    assert one.link()["mtu"] == result["interfaces"][-1]["mtu"] == 1450
    # with "do not fragment"; 28 bytes are the headers of IPv4 and ICMP
    assert one.reaches("198.51.100.2", "-Mdo", "-s1422")
    node.delete(one, conf)
    for link in ("tunnel", uplink, "tunnelled"):
        node.space.run("ip", "link", "del", link, check=False)


@pytest.mark.parametrize("version", [4, 6])
def test_each_next_hop_of_a_default_route_counts(pod, spaces, tmp_path, version):
    """With a default route over two uplinks, packets must pass both."""
    node, far, one = Node(spaces("node"), tmp_path), spaces("far"), pod()
    way = []
    for number, mtu in ((1, 1480), (2, 1400)):
        node.space.veth(f"up{number}", far, f"down{number}")
        local, peer = (
            (f"192.0.{number}.{last}/24" if version == 4 else f"2001:db8:{number}::{last}/64")
            for last in (1, 2)
        )
        node.space.ip("address", "add", local, "dev", f"up{number}")
        node.space.ip("link", "set", f"up{number}", "mtu", str(mtu))
        way += ["nexthop", "via", peer.partition("/")[0], "dev", f"up{number}"]
    node.space.ip(f"-{version}", "route", "add", "default", *way)
    assert node.add(one)["interfaces"][-1]["mtu"] == 1400
    node.delete(one)
