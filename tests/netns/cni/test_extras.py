"""Bandwidth, tuning, ptp, loopback and chains, with real packets."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cni.runner import PYTHON_CLIENT, REFERENCE, Node, Pod
from tests.support.cni.site import (
    HOST,
    OUTSIDE,
    Site,
    Spaces,
    ask,
    listening,
    mapped,
    served_site,
)


@pytest.fixture(scope="module")
def site(spaces: Spaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served_site(spaces, tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    tables = site.node.space.run("nft", "list", "tables")
    assert "podwire" not in tables
    assert not [name for name in site.node.links() if name.startswith("p") and name != "pw0"]
    assert site.node.reservations() == {}


def test_bandwidth_is_limited_both_ways(site):
    node, one = site.node, site.pod()
    rates = {
        "ingressRate": 8_000_000,
        "ingressBurst": 800_000,
        "egressRate": 4_000_000,
        "egressBurst": 400_000,
    }
    conf = node.conf(runtimeConfig={"bandwidth": rates})
    result = node.add(one, conf)
    ifb = result["interfaces"][3]["name"]
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    limits = {item["dev"]: item["options"]["rate"] for item in shown if item["kind"] == "tbf"}
    assert limits == {result["interfaces"][1]["name"]: 1_000_000, ifb: 500_000}
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    # the IFB counts the packets that the Pod sends
    assert one.reaches("10.1.0.1")
    statistics = json.loads(node.space.ip("-s", "-j", "link", "show", "dev", ifb))[0]["stats64"]
    assert statistics["tx"]["packets"] > 0
    node.space.run("tc", "qdisc", "del", "dev", ifb, "root")
    assert node.call("CHECK", one, conf).document["code"] == 101
    node.delete(one, conf)


@pytest.mark.parametrize(
    ("rate", "burst"),
    [
        (10_000_000, 2**32 - 1),  # containerd's burst: it overflows 32 bits in clock ticks
        (400_000_000_000, 8_000_000_000),  # more bytes per second than 32 bits
        (80_000, 80_000),
    ],
)
def test_large_rates_and_bursts(site, rate, burst):
    node, one = site.node, site.pod()
    rates = {"IngressRate": rate, "IngressBurst": burst}
    conf = node.conf(runtimeConfig={"bandwidth": rates})
    result = node.add(one, conf)
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    (bucket,) = (item["options"] for item in shown if item["kind"] == "tbf")
    assert bucket["rate"] == rate // 8
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    if rate == 80_000:
        assert bucket["burst"] == 10_000
    else:
        assert one.reaches("10.1.0.1", "-s1400")
    node.delete(one, conf)


@pytest.mark.parametrize(
    "rates",
    [
        {"ingressRate": 1000},
        {"egressBurst": 1000},
        {"ingressRate": 1000, "ingressBurst": 8 << 32},
    ],
)
def test_invalid_bandwidth_is_refused(site, rates):
    refused = site.node.call("ADD", site.pod(), site.node.conf(runtimeConfig={"bandwidth": rates}))
    assert refused.document["code"] == 7


def test_tuning(site):
    node, one = site.node, site.pod()
    conf = node.conf(
        sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"},
        promisc=True,
        allmulti=True,
        txQLen=77,
    )
    result = node.add(one, conf)
    assert one.space.run("sysctl", "-n", "net.ipv4.conf.eth0.arp_filter").strip() == "1"
    link = one.link()
    assert {"PROMISC", "ALLMULTI"} <= set(link["flags"])
    assert link["txqlen"] == 77
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    one.space.sysctl("net.core.somaxconn", 501)
    assert "somaxconn" in node.call("CHECK", one, conf).document["msg"]
    node.delete(one, conf)


@pytest.mark.parametrize("key", ["kernel.hostname", "net/../kernel/hostname", "net..x", "/net/x"])
def test_sysctls_outside_the_container_are_refused(site, key):
    refused = site.node.call("ADD", site.pod(), site.node.conf(sysctl={key: "x"}))
    assert refused.document["code"] == 7


def test_point_to_point(site):
    node, one, other = site.node, site.pod(), site.pod()
    conf = node.conf(
        mode="ptp",
        bridge=None,
        ipMasq=True,
        name="ptp",
        ipam=node.ipam("10.8.0.0/24", "fd00:8::/64"),
    )
    result = node.add(one, conf)
    node.add(other, conf)
    for address in other.addresses() | {"10.8.0.1", "fd00:8::1"}:
        assert one.reaches(address.partition("/")[0]), address
    assert one.reaches(OUTSIDE)
    conf["prevResult"] = result
    node.call("CHECK", one, conf).ok()
    node.space.ip("route", "del", result["ips"][0]["address"].partition("/")[0])
    assert "no route" in node.call("CHECK", one, conf).document["msg"]
    for each in (one, other):
        node.delete(each, conf)


def test_loopback(site):
    node, one = site.node, site.pod()
    one.space.ip("link", "set", "lo", "down")
    conf = {"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}
    result = node.add(one, conf, ifname="lo")
    assert [item["address"] for item in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert one.reaches("127.0.0.1")
    node.call("CHECK", one, conf | {"cniVersion": "0.4.0", "prevResult": result}).ok()
    node.delete(one, conf, ifname="lo")
    assert "UP" not in one.link("lo")["flags"]
    assert node.call("CHECK", one, conf | {"cniVersion": "0.4.0", "prevResult": result}).code == 1
    node.delete(one, conf, ifname="lo", netns=None)


def chain(node: Node, pod: Pod, verb: str, plugins: list[tuple[Path, dict]], result: dict) -> dict:
    """Execute a chain as libcni does: ADD in its order, DEL in the opposite order."""
    order = plugins if verb != "DEL" else plugins[::-1]
    for program, conf in order:
        part = conf | ({"prevResult": result} if result else {})
        answer = node.execute(
            part,
            program,
            command=verb,
            containerid=pod.container_id,
            netns=str(pod.space.path),
            ifname="eth0",
        ).ok()
        if verb == "ADD":
            result = answer.document
    return result


def test_reference_plugins_work_behind_podwire(site):
    node, one = site.node, site.pod()
    base = {"cniVersion": "1.0.0", "name": "net"}
    plugins = [
        (PYTHON_CLIENT, node.conf(cniVersion="1.0.0")),
        (
            REFERENCE / "portmap",
            base | {"type": "portmap", "snat": True, "runtimeConfig": mapped("8082-80/tcp")},
        ),
        (REFERENCE / "tuning", base | {"type": "tuning", "mac": "02:00:00:00:00:99"}),
        (REFERENCE / "firewall", base | {"type": "firewall"}),
    ]
    result = chain(node, one, "ADD", plugins, {})
    with listening(one.space, "one"):
        assert ask(site.outside, HOST, 8082).startswith("one")
    assert one.link()["address"] == "02:00:00:00:00:99"
    # portmap 1.1.1 fails its own CHECK: it expects IPv6 rules also for an IPv4 Pod
    chain(node, one, "CHECK", plugins[:1], result)
    chain(node, one, "DEL", plugins, result)


def test_podwire_works_behind_reference_plugins(site):
    node, one = site.node, site.pod()
    interface = node.conf(
        type="bridge",
        cniVersion="1.0.0",
        name="theirs",
        bridge="br7",
        ipam=node.ipam("10.7.0.0/24"),
    )
    interface["ipam"]["type"] = "host-local"
    rates = {
        "ingressRate": 8_000_000,
        "ingressBurst": 800_000,
        "egressRate": 8_000_000,
        "egressBurst": 800_000,
    }
    ours = {
        "cniVersion": "1.0.0",
        "name": "theirs",
        "type": "podwire-cni",
        "mode": "chained",
        "mac": "02:00:00:00:00:98",
        "sysctl": {"net.core.somaxconn": "600"},
        "runtimeConfig": mapped("8083-80/tcp") | {"bandwidth": rates},
    }
    plugins = [(REFERENCE / "bridge", interface), (PYTHON_CLIENT, ours)]
    result = chain(node, one, "ADD", plugins, {})
    assert one.link()["address"] == "02:00:00:00:00:98"
    with listening(one.space, "one"):
        assert ask(site.outside, HOST, 8083).startswith("one")
        assert ask(node.space, "127.0.0.1", 8083).startswith("one")
    shown = json.loads(node.space.run("tc", "-j", "qdisc", "show"))
    assert len([item for item in shown if item["kind"] == "tbf"]) == 2
    chain(node, one, "CHECK", plugins[1:], result)
    chain(node, one, "DEL", plugins, result)
