"""Tuning: allowed sysctls, and an interface whose state is saved and restored."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cni.kill import execute
from tests.support.cni.runner import REFERENCE, Json, Node, Pod

MAC, TUNED_MAC = "02:00:00:00:00:01", "02:00:00:00:00:9a"
TUNED = {"mac": TUNED_MAC.upper(), "mtu": 1300, "promisc": True, "allmulti": True, "txQLen": 55}


@pytest.fixture
def device(pod: Callable[[], Pod]) -> Pod:
    """A Pod with a device that outlives the attachment."""
    made = pod()
    made.space.ip(
        "link",
        "add",
        "eth0",
        "address",
        MAC,
        "mtu",
        "1450",
        "txqueuelen",
        "1000",
        "type",
        "veth",
        "peer",
        "name",
        "peer0",
    )
    made.space.ip("link", "set", "eth0", "up")
    return made


def chained(node: Node, pod: Pod, **options: Any) -> Json:
    """The configuration of a chained plugin ``tuning``, behind one that gave the Pod its device."""
    previous = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": MAC, "sandbox": str(pod.space.path)}],
    }
    return {
        "cniVersion": "1.0.0",
        "name": "net",
        "type": "tuning",
        "prevResult": previous,
        "dataDir": str(node.files / "tuning"),
    } | options


def state(pod: Pod) -> tuple[object, ...]:
    """The properties that tuning can change."""
    link = pod.link()
    flags = {"PROMISC", "ALLMULTI"} & set(link["flags"])
    return link["address"], link["mtu"], link["txqlen"], flags


def kept(node: Node) -> list[str]:
    return sorted(path.name for path in (node.files / "tuning").glob("*"))


def test_del_restores_what_add_changed(node, device):
    before = state(device)
    conf = chained(node, device, **TUNED)
    node.add(device, conf)
    assert state(device) == (TUNED_MAC, 1300, 55, {"PROMISC", "ALLMULTI"})
    assert kept(node) == [f"{device.container_id}_eth0.json"]
    for _ in range(2):
        node.delete(device, conf)
        assert state(device) == before
        assert kept(node) == []


def test_a_failed_add_restores_the_interface(node, device):
    before = state(device)
    conf = chained(
        node,
        device,
        **TUNED,
        runtimeConfig={"bandwidth": {"ingressRate": 8000, "ingressBurst": 8000}},
    )
    assert node.call("ADD", device, conf).document["code"] == 7
    assert (state(device), kept(node)) == (before, [])


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_del_restores_the_interface_after_a_kill(node, device, verb):
    before, conf = state(device), chained(node, device, **TUNED)
    position, killed = 0, True
    while killed:
        if verb == "DEL":
            assert execute(node, device, "ADD", conf) == 0
        killed = execute(node, device, verb, conf, position) is None
        assert execute(node, device, "DEL", conf) == 0
        assert (state(device), kept(node)) == (before, [])
        position += 1
    assert position > 1, "no operation was seen"


def test_gc_removes_saved_states_after_a_killed_add(node, device):
    conf = chained(node, device, **TUNED, cniVersion="1.1.0")
    position = 0
    while execute(node, device, "ADD", conf, position) is None:
        assert execute(node, device, "GC", conf | {"cni.dev/valid-attachments": []}) == 0
        assert kept(node) == []
        position += 1
    assert position > 3, "most operations were not seen"
    node.delete(device, conf)


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
def test_each_plugin_restores_what_the_other_changed(node, device, order):
    plugins = {"ours": None, "theirs": REFERENCE / "tuning"}
    before = state(device)
    # 1.1.1 has no txQLen
    conf = chained(node, device, **{key: TUNED[key] for key in TUNED.keys() - {"txQLen"}})
    for verb, whose in zip(("ADD", "DEL"), order, strict=True):
        node.call(verb, device, conf, plugin=plugins[whose]).ok()
    assert (state(device), kept(node)) == (before, [])


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (("address", "02:00:00:00:00:77"), "mac"),
        (("mtu", "1200"), "mtu"),
        (("promisc", "off"), "promisc"),
        (("allmulticast", "off"), "allmulti"),
        (("txqueuelen", "5"), "txQLen"),
    ],
)
def test_check_reports_each_changed_property(node, device, fault, named):
    conf = chained(node, device, **TUNED)
    node.add(device, conf)
    node.call("CHECK", device, conf).ok()
    device.space.ip("link", "set", "eth0", *fault)
    refused = node.call("CHECK", device, conf).document
    assert refused["code"] == 101
    assert f"{named} is " in refused["msg"]
    node.delete(device, conf)


def test_check_accepts_a_later_plugins_changes(node, device):
    conf = chained(node, device, **TUNED)
    node.add(device, conf)
    device.space.ip("link", "set", "eth0", "address", "02:00:00:00:00:77")
    later = json.loads(json.dumps(conf["prevResult"]))
    later["interfaces"][0]["mac"] = "02:00:00:00:00:77"
    node.call("CHECK", device, conf | {"prevResult": later}).ok()
    node.delete(device, conf)


def test_the_check_of_earlier_plugins_accepts_the_changes(node, pod):
    one = pod()
    interface = node.conf(bridge="br3", name="net")
    tuning = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "tuning",
        "dataDir": str(node.files / "tuning"),
        **TUNED,
    }
    before = node.add(one, interface)
    after = node.add(one, tuning | {"prevResult": before})
    assert [after["interfaces"][2][key] for key in ("mac", "mtu")] == [TUNED_MAC, 1300]
    for conf in (interface, tuning):
        node.call("CHECK", one, conf | {"prevResult": after}).ok()
    for conf in (tuning, interface):
        node.delete(one, conf | {"prevResult": after})


def test_mode_bridge_uses_the_mac_option(node, pod):
    one = pod()
    result = node.add(one, node.conf(mac=TUNED_MAC))
    assert one.link()["address"] == result["interfaces"][2]["mac"] == TUNED_MAC
    node.delete(one)


def test_check_compares_a_sysctl_without_regard_to_white_space(node, pod):
    one = pod()
    conf = node.conf(sysctl={"net.ipv4.ip_local_port_range": "2000 3000"})
    asked = conf | {"prevResult": node.add(one, conf)}
    node.call("CHECK", one, asked).ok()
    one.space.sysctl("net.ipv4.ip_local_port_range", "2000 3001")
    assert node.call("CHECK", one, asked).document["code"] == 101
    node.delete(one)


def test_del_without_the_namespace_removes_the_saved_state(node, device):
    conf = chained(node, device, **TUNED)
    node.add(device, conf)
    node.delete(device, conf, netns="/run/netns/vanished")
    assert kept(node) == []


def test_gc_removes_saved_states_that_are_not_valid(node, device):
    conf = chained(node, device, **TUNED) | {"cniVersion": "1.1.0"}
    node.add(device, conf)
    valid = [{"containerID": device.container_id, "ifname": "eth0"}]
    collected = conf | {"cni.dev/valid-attachments": valid}
    node.execute(collected, command="GC").ok()
    node.execute(collected | {"name": "other", "cni.dev/valid-attachments": []}, command="GC").ok()
    assert len(kept(node)) == 1
    node.execute(collected | {"cni.dev/valid-attachments": []}, command="GC").ok()
    assert kept(node) == []


def test_sysctls_must_be_on_the_allowlist(node, pod, tmp_path):
    one = pod()
    fenced = tmp_path / "fenced"
    fenced.write_text(
        "#!/bin/sh\nmount -t tmpfs tmpfs /etc && mkdir -p /etc/cni/tuning && "
        f"printf '%s\\n' '^net\\.core\\.somaxconn$' '' > /etc/cni/tuning/allowlist.conf\n"
        f"exec {node.plugin}\n"
    )
    outer = tmp_path / "plugin"
    outer.write_text(f"#!/bin/sh\nexec unshare --mount {fenced}\n")
    for script in (fenced, outer):
        script.chmod(0o755)
    for socket in (str(node.socket), "/nowhere"):
        environment = {"PODWIRE_CNI_SOCKET": socket}
        for key, allowed in (("net.core.somaxconn", True), ("net.ipv4.ip_forward", False)):
            conf = node.conf(sysctl={key: "1"})
            answer = node.call("ADD", one, conf, plugin=outer, environment=environment)
            assert (answer.code == 0) is allowed, answer
            if not allowed:
                assert answer.document["code"] == 7
                assert key in answer.document["msg"]
            node.delete(one, conf)
    # another root directory has no allowlist
    node.add(one, node.conf(sysctl={"net.ipv4.ip_forward": "1"}))
    node.delete(one)


def test_a_sysctl_that_occurs_twice_is_refused(node, pod):
    text = json.dumps(node.conf(sysctl={"net.core.somaxconn": "1"}))
    twice = text.replace('"1"', '"1", "net.core.somaxconn": "2"').encode()
    assert twice != text.encode()
    refused = node.call("ADD", pod(), twice)
    assert refused.document["code"] == 7
    assert "twice" in refused.document["msg"]
