"""VLANs of the bridge, with real packets; or the error of a kernel without VLANs.

``bin/test-kernel tests/netns/cni/test_vlan.py`` runs them on a kernel that has.
"""

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.cni.kill import execute, heal
from tests.support.cni.runner import REFERENCE, Json, Node
from tests.support.cni.site import ask, listening, mapped
from tests.support.space import Space

Spaces = Callable[[str], Space]
DUAL = ("10.1.0.0/24", "fd00:1::/64")


@pytest.fixture(scope="module")
def filtering(spaces: Spaces) -> bool:
    """True if the kernel's bridges can filter VLANs."""
    probe = spaces("probe")
    probe.ip("link", "add", "probe0", "type", "bridge")
    probe.run("ip", "link", "set", "probe0", "type", "bridge", "vlan_filtering", "1", check=False)
    link = json.loads(probe.ip("-d", "-j", "link", "show", "probe0"))[0]
    return link["linkinfo"]["info_data"]["vlan_filtering"] == 1


@pytest.fixture
def vlans(filtering: bool) -> None:
    if not filtering:
        pytest.skip("this kernel has no CONFIG_BRIDGE_VLAN_FILTERING: bin/test-kernel has")


@pytest.fixture
def node(served: Node) -> Iterator[Node]:
    """The served node; it is cleaned after each test."""
    yield served
    for link in served.links():
        served.space.run("ip", "link", "del", link, check=False)  # a veth vanishes with its peer
    shutil.rmtree(served.data, ignore_errors=True)


def memberships(node: Node, link: str) -> dict[int, set[str]]:
    """A port's VLANs with their flags, as bridge(8) prints them."""
    shown = json.loads(node.space.run("bridge", "-j", "vlan", "show", "dev", link))
    return {
        vlan: set(entry.get("flags", ()))
        for port in shown
        for entry in port["vlans"]
        for vlan in range(entry["vlan"], entry.get("vlanEnd", entry["vlan"]) + 1)
    }


NATIVE = {"PVID", "Egress Untagged"}


def test_the_error_names_the_missing_kernel_option(node, pod, filtering):
    if filtering:
        pytest.skip("this kernel has VLAN filtering")
    for options in ({"vlan": 5}, {"vlanTrunk": [{"id": 5}]}):
        document = node.call("ADD", pod(), node.conf(**options)).document
        assert document["code"] == 2
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in document["details"]
    assert node.reservations() == {}
    assert set(node.links()) == {"pw0"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vlan": 5, "mode": "ptp"}, 7),
        ({"vlan": 4000, "bridge": "a-long-name-01"}, 7),
        ({"vlan": 5, "ingressPolicy": "same-bridge"}, 2),
    ],
)
def test_options_that_exclude_vlans_are_refused(node, pod, options, code):
    assert node.call("ADD", pod(), node.conf(**options)).document["code"] == code
    assert node.links() == {}


def test_pods_reach_only_their_own_vlan_and_its_gateway(node, pod, vlans):
    near, other, far = pod(), pod(), pod()
    conf = node.conf(vlan=100, ipam=node.ipam(*DUAL))
    elsewhere = node.conf(vlan=200, name="far", ipam=node.ipam("10.2.0.0/24"))
    result = node.add(near, conf)
    node.add(other, conf)
    node.add(far, elsewhere)
    for address in [item["gateway"] for item in result["ips"]]:
        assert near.reaches(address)
    for address in other.addresses():
        assert near.reaches(address.partition("/")[0])
    # the host routes between VLANs, as it does between bridges
    assert near.reaches("10.2.0.2")
    # a Pod of the second VLAN with an address of the first one reaches nothing there
    far.space.ip("address", "add", "10.1.0.99/24", "dev", "eth0")
    assert not near.reaches("10.1.0.99")
    assert memberships(node, node.host_link(near)) == {100: NATIVE}


def test_result_has_the_gateways_link_and_check_agrees(node, pod, vlans):
    one = pod()
    conf = node.conf(vlan=100, ipam=node.ipam(*DUAL))
    result = node.add(one, conf)
    links = node.links()
    assert [item["name"] for item in result["interfaces"]] == [
        "pw0",
        node.host_link(one),
        "eth0",
        "pw0.100",
    ]
    assert result["interfaces"][3]["mac"] == links["pw0.100"]["address"]
    assert {item["interface"] for item in result["ips"]} == {2}
    assert links["pw0.100"]["linkinfo"]["info_data"]["id"] == 100
    node.call("CHECK", one, conf | {"prevResult": result}).ok()


BREAKAGES = {
    "does not keep VLANs apart": "link set pw0 type bridge vlan_filtering 0",
    "has native VLAN 0, not 100": "vlan del vid 100 dev {host}",
    "is in VLAN 7 too": "vlan add vid 7 dev {host}",
    "lacks VLAN 200, 202": "vlan del vid 200-202 dev {host}",
    "pw0.100 is missing": "link del pw0.100",
    "pw0.100 is down": "link set pw0.100 down",
    "is not in VLAN 100 itself": "vlan del vid 100 dev pw0 self",
}


@pytest.mark.parametrize("said", BREAKAGES)
def test_check_reports_vlan_faults_and_the_next_add_repairs_the_bridge(node, pod, vlans, said):
    one = pod()
    trunk = [{"id": 200}, {"id": 202}]
    conf = node.conf(vlan=100, vlanTrunk=trunk, ipam=node.ipam(*DUAL))
    result = node.add(one, conf)
    command = BREAKAGES[said].format(host=node.host_link(one)).split()
    node.space.run("bridge" if command[0] == "vlan" else "ip", *command)
    answer = node.call("CHECK", one, conf | {"prevResult": result}).document
    assert answer["code"] == 101
    assert said in answer["details"]
    again = pod()
    result = node.add(again, conf)
    node.call("CHECK", again, conf | {"prevResult": result}).ok()
    assert again.reaches("10.1.0.1")


def test_a_trunk_carries_tagged_frames_and_the_native_vlan(node, pod, vlans):
    member, trunk = pod(), pod()
    node.add(member, node.conf(vlan=201, isDefaultGateway=False))
    ranges = [{"id": 100}, {"minID": 200, "maxID": 202}]
    conf = node.conf(vlanTrunk=ranges, name="trunk", isDefaultGateway=False, ipam=None)
    node.add(trunk, conf)
    tagged = {vlan: set() for vlan in (100, 200, 201, 202)}
    assert memberships(node, node.host_link(trunk)) == {1: NATIVE} | tagged
    for vlan in (201, 203):
        trunk.space.ip(
            "link", "add", "link", "eth0", f"eth0.{vlan}", "type", "vlan", "id", f"{vlan}"
        )
    trunk.space.ip("address", "add", "10.1.0.77/24", "dev", "eth0.201")
    trunk.space.ip("link", "set", "eth0.201", "up")
    assert trunk.reaches("10.1.0.2")
    trunk.space.ip("link", "set", "eth0.201", "down")
    trunk.space.ip("address", "add", "10.1.0.77/24", "dev", "eth0.203")
    trunk.space.ip("link", "set", "eth0.203", "up")
    assert not trunk.reaches("10.1.0.2")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"vlan": 100}, {1: {"Egress Untagged"}, 100: NATIVE}),
        ({"vlanTrunk": [{"id": 9}]}, {1: NATIVE, 9: set()}),
        # the native VLAN stays untagged, also if the trunk lists it
        (
            {"vlan": 9, "vlanTrunk": [{"minID": 8, "maxID": 10}]},
            {1: {"Egress Untagged"}, 8: set(), 9: NATIVE, 10: set()},
        ),
        (
            {"vlanTrunk": [{"minID": 1, "maxID": 4094}]},
            {1: NATIVE} | {vlan: set() for vlan in range(2, 4095)},
        ),
    ],
)
def test_preserve_default_vlan(node, pod, vlans, options, expected):
    one = pod()
    conf = node.conf(preserveDefaultVlan=True, isDefaultGateway=False, ipam=None, **options)
    result = node.add(one, conf)
    assert memberships(node, node.host_link(one)) == expected
    node.call("CHECK", one, conf | {"prevResult": result}).ok()


def test_switching_filtering_on_keeps_the_bridges_other_pods_connected(node, pod, vlans):
    plain, other, tagged = pod(), pod(), pod()
    conf = node.conf()
    node.add(plain, conf)
    node.add(other, conf)
    node.add(tagged, node.conf(vlan=100, name="tagged", ipam=node.ipam("10.2.0.0/24")))
    assert node.links()["pw0"]["linkinfo"]["info_data"]["vlan_filtering"] == 1
    assert plain.reaches("10.1.0.3")
    assert plain.reaches("10.1.0.1")
    assert tagged.reaches("10.2.0.1")


def test_a_pod_cannot_spoof_its_mac_in_a_vlan(node, pod, vlans):
    one, other = pod(), pod()
    conf = node.conf(vlan=100, macspoofchk=True)
    node.add(one, conf)
    node.add(other, conf)
    assert one.reaches("10.1.0.3")
    one.space.ip("link", "set", "eth0", "address", "02:00:00:00:00:66")
    assert not one.reaches("10.1.0.3")


def test_a_mapped_port_reaches_a_pod_in_a_vlan(node, pod, vlans, spaces):
    one, outside = pod(), spaces("outside")
    node.space.veth("up0", outside, "eth0")
    node.space.ip("address", "add", "192.0.2.1/24", "dev", "up0")
    outside.ip("address", "add", "192.0.2.2/24", "dev", "eth0")
    conf = node.conf(vlan=100, ipMasq=True, runtimeConfig=mapped("8080-80/tcp"))
    node.add(one, conf)
    with listening(one.space, "one"):
        assert ask(outside, "192.0.2.1", 8080) == "one ::ffff:192.0.2.2"
        assert ask(node.space, "127.0.0.1", 8080).startswith("one ")
    assert one.reaches("192.0.2.2")
    node.delete(one, conf)
    assert "podwire" not in node.space.run("nft", "list", "tables")


def test_del_and_gc_keep_the_bridge_and_the_gateways_link(node, pod, vlans):
    gone, collected = pod(), pod()
    conf = node.conf(vlan=100, vlanTrunk=[{"id": 7}])
    node.add(gone, conf)
    node.add(collected, conf)
    node.delete(gone, conf, netns=None)
    valid = conf | {"cni.dev/valid-attachments": []}
    node.execute(valid, command="GC", path="/nowhere").ok()
    assert set(node.links()) == {"pw0", "pw0.100"}
    assert node.reservations() == {}
    assert set(memberships(node, "pw0")) == {1, 100}


def reference(node: Node, **options: object) -> Json:
    """The network for Debian's bridge plugin and host-local, with other addresses."""
    ipam = {
        "type": "host-local",
        "subnet": "10.1.0.0/24",
        "rangeStart": "10.1.0.100",
        "dataDir": str(node.data),
    }
    conf = {
        "cniVersion": "1.0.0",
        "name": "theirs",
        "type": "bridge",
        "bridge": "pw0",
        "isGateway": True,
        "vlan": 100,
        "ipam": ipam,
    }
    return conf | options


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_reference_plugin_shares_the_vlan(node, pod, vlans, first):
    ours, theirs, far = pod(), pod(), pod()
    conf, peer = node.conf(vlan=100), reference(node, isGateway=first == "theirs")
    other = reference(node, name="far", vlan=200, isGateway=False)
    steps = [
        lambda: node.add(ours, conf),
        lambda: node.add(theirs, peer, plugin=REFERENCE / "bridge"),
    ]
    for step in steps if first == "ours" else reversed(steps):
        step()
    node.add(far, other, plugin=REFERENCE / "bridge")
    address = next(iter(theirs.addresses())).partition("/")[0]
    assert ours.reaches(address)
    assert theirs.reaches("10.1.0.1")
    far.space.ip("address", "add", "10.1.0.200/24", "dev", "eth0")
    assert not ours.reaches("10.1.0.200")
    native = {
        vlan for vlan, flags in memberships(node, node.host_link(ours)).items() if "PVID" in flags
    }
    assert native == {100}


@pytest.mark.parametrize("healer", ["DEL", "GC"])
def test_a_kill_after_each_operation_is_cleaned_up(node, pod, vlans, healer):
    """The next DEL, or GC, cleans up like an undisturbed DEL, and the ADD after it succeeds."""
    one = pod()
    conf = node.conf(vlan=100, vlanTrunk=[{"id": 7}], macspoofchk=True)
    position = 0
    while execute(node, one, "ADD", conf, position) is None:
        heal(node, one, conf, healer)
        assert set(node.links()) <= {"pw0", "pw0.100"}
        assert node.reservations() == {}
        position += 1
    assert position > 25, "most operations were not seen"
    assert one.reaches("10.1.0.1")
    heal(node, one, conf, healer)
    assert set(node.links()) == {"pw0", "pw0.100"}
