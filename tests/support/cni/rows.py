"""The CNI specification's requirements of ADD, DEL and CHECK; ``bench`` says what a row is."""

import json
from typing import Any

from tests.support.cni.bench import Bench, Row, rows
from tests.support.cni.runner import REFERENCE, Json, Pod

ROWS: list[Row] = []
row = rows(ROWS)


@row("1", "a malformed container ID is code 4", reference=True)
def _container_id(bench: Bench) -> None:
    bench.fails(4, "ADD", bench.pod(), containerid="x\n")


@row("1", "a malformed network name is code 7", reference=True)
def _network_name(bench: Bench) -> None:
    bench.fails(7, "ADD", bench.pod(), bench.conf(name="../x"))
    bench.fails(7, "ADD", bench.pod(), bench.conf(name=None))


@row("2", "a malformed interface name is code 4", reference=True)
def _interface_name(bench: Bench) -> None:
    for name in ("a/b", "x" * 16, ".."):
        bench.fails(4, "ADD", bench.pod(), ifname=name)


@row("3", "one error names every missing variable", reference=True)
def _missing(bench: Bench) -> None:
    text = str(bench.fails(4, "ADD", bench.pod(), containerid=None, netns=None, ifname=None))
    for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"):
        assert name in text


@row("4", "an error is one document on stdout, logs are on stderr", reference=True)
def _one_document(bench: Bench) -> None:
    bench.fails(None, "ADD", bench.pod(), netns="/run/netns/nowhere")


@row("5", "an unknown version is code 1, invalid JSON is code 6", reference=True)
def _codes(bench: Bench) -> None:
    bench.fails(1, "ADD", bench.pod(), bench.conf(cniVersion="9.9.9"))
    pod = bench.pod()
    answer = bench.node.execute(
        b"{", command="ADD", containerid="x", netns=str(pod.space.path), ifname="eth0"
    )
    assert answer.document["code"] == 6


@row("5", "a missing network namespace is code 3", reference=False)
def _unknown_container(bench: Bench) -> None:
    bench.fails(3, "ADD", bench.pod(), netns="/run/netns/nowhere")


@row("6", "CHECK needs cniVersion 0.4.0", reference=True)
def _check_version(bench: Bench) -> None:
    bench.fails(1, "CHECK", bench.pod(), bench.conf(cniVersion="0.3.1"))


@row("6", "GC and STATUS need cniVersion 1.1.0", reference=None)
def _new_verbs(bench: Bench) -> None:
    for verb in ("GC", "STATUS"):
        bench.fails(1, verb, bench.pod(), bench.conf(cniVersion="1.0.0"))


@row("7", "an existing interface is an error, and stays", reference=True)
def _existing(bench: Bench) -> None:
    pod = bench.pod()
    pod.space.ip("link", "add", "eth0", "type", "bridge")
    bench.fails(None, "ADD", pod)
    assert "eth0" in pod.space.ip("link")
    assert bench.reservations() == {}


@row("7", "the host's own namespace is refused before any work", reference=False)
def _host_namespace(bench: Bench) -> None:
    before = bench.node.links().keys()
    bench.fails(None, "ADD", bench.pod(), netns=str(bench.node.space.path))
    assert bench.node.links().keys() == before
    assert bench.reservations() == {}


@row("8", "the result includes the previous result", reference=False)
def _previous(bench: Bench) -> None:
    previous = {
        "cniVersion": bench.version,
        "interfaces": [{"name": "net0", "sandbox": "/x"}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
        "routes": [{"dst": "198.51.100.0/24"}],
    }
    pod = bench.pod()
    result = bench.add(pod, bench.conf(prevResult=previous))
    assert result["interfaces"][0]["name"] == "net0"
    assert "192.0.2.7/24" in [item["address"] for item in result["ips"]]
    assert "198.51.100.0/24" in [item["dst"] for item in result["routes"]]
    own = next(item for item in result["ips"] if item["address"].startswith("10."))
    assert result["interfaces"][own["interface"]]["name"] == "eth0"


@row("9", "the result has the version of the configuration", reference=True)
def _versions(bench: Bench) -> None:
    for version in ("0.1.0", "0.3.1", "1.0.0"):
        pod = bench.pod()
        result = bench.add(pod, bench.conf(cniVersion=version))
        assert result["cniVersion"] == version
        assert ("ip4" in result) is (version == "0.1.0")
        if version != "0.1.0":
            assert (result["ips"][0].get("version") == "4") is (version == "0.3.1")


@row("9", "a missing version is 0.1.0", reference=True)
def _no_version(bench: Bench) -> None:
    assert "ip4" in bench.add(bench.pod(), bench.conf(cniVersion=None))


@row("10", "DEL succeeds with missing objects, and may be repeated", reference=True)
def _delete(bench: Bench) -> None:
    pod = bench.pod()
    result = bench.add(pod)
    bench.call("DEL", pod, bench.conf(prevResult=result)).ok()
    for netns in (str(pod.space.path), "", "/run/netns/vanished"):
        bench.call("DEL", pod, netns=netns or None).ok()
    bench.call("DEL", bench.pod()).ok()
    assert bench.reservations() == {}


@row("10", "DEL accepts an odd prevResult", reference=True)
def _odd_previous(bench: Bench) -> None:
    pod = bench.pod()
    bench.add(pod)
    bench.call("DEL", pod, bench.conf(prevResult={"ips": "?"})).ok()
    assert bench.reservations() == {}


@row("10", "DEL accepts a prevResult that is no result", reference=False)
def _no_previous(bench: Bench) -> None:
    for previous in ([], "x", 5):
        pod = bench.pod()
        bench.add(pod)
        bench.call("DEL", pod, bench.conf(prevResult=previous)).ok()
    assert bench.reservations() == {}


def _checked(bench: Bench, **options: Any) -> tuple[Pod, Json]:
    """An attachment whose CHECK succeeds, and the configuration for that CHECK."""
    pod = bench.pod()
    conf = bench.conf(**options)
    conf["prevResult"] = bench.add(pod, conf)
    bench.call("CHECK", pod, conf).ok()
    return pod, conf


@row("11", "CHECK needs a previous result", reference=True)
def _check_previous(bench: Bench) -> None:
    pod = bench.pod()
    bench.add(pod)
    bench.fails(None, "CHECK", pod)


@row("11", "CHECK reports a lost address, a lost interface, a lost reservation", reference=True)
def _check_lost(bench: Bench) -> None:
    pod, conf = _checked(bench)
    for path in (bench.node.data / conf["name"]).glob("10.*"):
        path.unlink()
    bench.fails(None, "CHECK", pod, conf)
    pod, conf = _checked(bench)
    pod.space.ip("address", "flush", "dev", "eth0")
    bench.fails(None, "CHECK", pod, conf)
    pod.space.ip("link", "del", "eth0")
    bench.fails(None, "CHECK", pod, conf)


@row("11 R7", "CHECK reports a wrong default gateway", reference=False)
def _check_gateway(bench: Bench) -> None:
    pod, conf = _checked(bench)
    pod.space.ip("route", "replace", "default", "via", f"10.{bench.number}.0.99")
    bench.fails(None, "CHECK", pod, conf)


@row("11 R7", "CHECK reports a bridge that lost its address", reference=False)
def _check_bridge(bench: Bench) -> None:
    pod, conf = _checked(bench)
    bench.node.space.ip("address", "flush", "dev", conf["bridge"])
    bench.fails(None, "CHECK", pod, conf)


@row("11 R7", "CHECK reports a host's end that is down", reference=False)
def _check_host(bench: Bench) -> None:
    pod, conf = _checked(bench)
    bench.node.space.ip("link", "set", conf["prevResult"]["interfaces"][1]["name"], "down")
    bench.fails(None, "CHECK", pod, conf)


@row("11 R7", "CHECK reports forwarding off", reference=False)
def _check_forwarding(bench: Bench) -> None:
    pod, conf = _checked(bench)
    bench.node.space.sysctl("net.ipv4.ip_forward", 0)
    try:
        bench.fails(None, "CHECK", pod, conf)
    finally:
        bench.node.space.sysctl("net.ipv4.ip_forward", 1)


@row("11 R7", "CHECK reports flushed masquerade rules", reference=False)
def _check_masquerade(bench: Bench) -> None:
    pod, conf = _checked(bench, ipMasq=True)
    bench.node.space.run("nft", "flush", "ruleset")
    bench.fails(None, "CHECK", pod, conf)
    bench.call("DEL", pod, conf).ok()


@row("11 R8", "CHECK of an L2-only bridge succeeds", reference=False)
def _check_layer_two(bench: Bench) -> None:
    _checked(
        bench,
        ipam=None if bench.kind == "podwire-cni" else {},
        isGateway=None,
        isDefaultGateway=None,
    )


@row("11", "CHECK accepts the changes of a later plugin of the chain", reference=True)
def _check_changed(bench: Bench) -> None:
    pod, conf = _checked(bench)
    pod.space.ip("link", "set", "eth0", "address", "02:00:00:00:00:42")
    pod.space.ip("route", "replace", "default", "via", f"10.{bench.number}.0.1", "dev", "eth0")
    changed = json.loads(json.dumps(conf["prevResult"]))
    changed["interfaces"][2]["mac"] = "02:00:00:00:00:42"
    changed["routes"].append({"dst": "198.51.100.0/24", "gw": "192.0.2.77"})
    pod.space.ip("link", "add", "net1", "type", "bridge")
    pod.space.ip("address", "add", "192.0.2.1/24", "dev", "net1")
    pod.space.ip("link", "set", "net1", "up")
    pod.space.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.77")
    changed["interfaces"].append({"name": "net1", "sandbox": str(pod.space.path)})
    bench.call("CHECK", pod, conf | {"prevResult": changed}).ok()


@row("11", "CHECK executes the IPAM plugin", reference=True)
def _check_delegate(bench: Bench) -> None:
    ipam, folder = bench.spy(fails="CHECK")
    conf = bench.conf(ipam=ipam)
    path = f"{folder}:{REFERENCE}"
    pod = bench.pod()
    result = bench.add(pod, conf, path=path)
    bench.fails(111, "CHECK", pod, conf | {"prevResult": result}, path=path)
