"""Unusual names and values, and the options of the reference plugins; ``bench`` says what a row is.

Each row is a fault that somebody who used the plugin found, with the reference's behavior as the
right one, or with its shortfall.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cni.bench import Bench, Row, rows
from tests.support.cni.runner import Json

ROWS: list[Row] = []
row = rows(ROWS)


@row("2", "an interface name outside ASCII is a name like any other", reference=True)
def _name_outside_ascii(bench: Bench) -> None:
    for name in ("é0", "网络"):
        pod, conf = bench.pod(), bench.conf()
        result = bench.add(pod, conf, ifname=name)
        bench.call("CHECK", pod, conf | {"prevResult": result}, ifname=name).ok()
        bench.call("DEL", pod, conf, ifname=name).ok()
        assert bench.reservations() == {}


@row("13", "GC keeps a valid attachment whose interface name is outside ASCII", reference=None)
def _collect_outside_ascii(bench: Bench) -> None:
    pod, gone, conf = bench.pod(), bench.pod(), bench.conf()
    result = bench.add(pod, conf, ifname="é0")
    bench.add(gone, conf, ifname="é0")
    valid = [{"containerID": pod.container_id, "ifname": "é0"}]
    bench.node.execute(conf | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    bench.call("CHECK", pod, conf | {"prevResult": result}, ifname="é0").ok()
    assert list(bench.reservations().values()) == [f"{pod.container_id}\r\né0"]


@contextmanager
def _disk(bench: Bench, options: str) -> Iterator[tuple[Json, Path]]:
    """A configuration whose reservations are on a small file system of their own."""
    folder = bench.node.files / f"disk{bench.number}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    conf = bench.conf()
    conf["ipam"]["dataDir"] = str(folder)
    try:
        yield conf, folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


@row("10", "DEL removes the interface though reservations are read-only", reference=False)
def _delete_read_only(bench: Bench) -> None:
    with _disk(bench, "size=1m") as (conf, folder):
        pod, other = bench.pod(), bench.pod()
        host = bench.add(pod, conf)["interfaces"][1]["name"]
        _remount(folder, "ro")
        refused = bench.fails(None, "DEL", pod, conf)
        assert "ead-only" in str(refused)
        assert host not in bench.node.links()
        _remount(folder, "rw")
        bench.call("DEL", pod, conf).ok()
        assert bench.add(other, conf)
        _remount(folder, "ro")
        bench.call("DEL", pod, conf).ok()  # nothing of it is left


@row("13", "GC removes interfaces and rules though reservations are read-only", reference=None)
def _collect_read_only(bench: Bench) -> None:
    with _disk(bench, "size=1m") as (conf, folder):
        conf |= {"ipMasq": True}
        result = bench.add(bench.pod(), conf)
        _remount(folder, "ro")
        answer = bench.node.execute(conf | {"cni.dev/valid-attachments": []}, command="GC")
        assert "ead-only" in answer.document["details"]
        assert result["interfaces"][1]["name"] not in bench.node.links()
        address = result["ips"][0]["address"].partition("/")[0]
        assert address not in bench.node.space.run("nft", "list", "ruleset")


@row("12", "STATUS is code 50 on a full disk, where ADD fails and DEL works", reference=None)
def _full_disk(bench: Bench) -> None:
    with _disk(bench, "size=64k") as (conf, folder):
        pod = bench.pod()
        bench.add(pod, conf)
        bench.node.execute(conf, command="STATUS").ok()
        ballast = folder / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}"], check=False, capture_output=True)
        assert "No space" in bench.fails(None, "ADD", bench.pod(), conf)["msg"]
        refused = bench.node.execute(conf, command="STATUS").document
        assert refused["code"] == 50
        assert "No space" in refused["msg"]
        bench.call("DEL", pod, conf).ok()
        ballast.unlink()
        bench.node.execute(conf, command="STATUS").ok()


@row("10", "DEL frees the address on a full disk", reference=True)
def _delete_full(bench: Bench) -> None:
    with _disk(bench, "size=64k") as (conf, folder):
        pod = bench.pod()
        bench.add(pod, conf)
        ballast = folder / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}"], check=False, capture_output=True)
        bench.call("DEL", pod, conf).ok()
        assert not list((folder / conf["name"]).glob("10.*"))


@row("9", "a gateway of the other IP version is refused, and nothing is left", reference=True)
def _other_gateway(bench: Bench) -> None:
    pod, conf = bench.pod(), bench.conf()
    conf["ipam"]["ranges"][0][0]["gateway"] = "fd00::1"
    assert "bug" not in bench.fails(None, "ADD", pod, conf)["msg"]
    for address, gateway in (("10.77.0.9/24", "fd00::1"), ("fd00:77::9/64", "10.77.0.1")):
        static = {"type": "static", "addresses": [{"address": address, "gateway": gateway}]}
        conf = bench.conf(ipam=static, cniVersion="1.0.0")
        assert "bug" not in bench.fails(None, "ADD", pod, conf)["msg"]
    assert bench.reservations() == {}


@row("9", "an error names the gateway of the other IP version", reference=None)
def _other_gateway_named(bench: Bench) -> None:
    conf = bench.conf()
    conf["ipam"]["ranges"][0][0]["gateway"] = "fd00::1"
    assert "gateway fd00::1" in bench.fails(7, "ADD", bench.pod(), conf)["msg"]
    static = {"type": "static", "addresses": [{"address": "10.77.0.9/24", "gateway": "fd00::1"}]}
    conf = bench.conf(ipam=static, cniVersion="1.0.0")
    assert "gateway fd00::1" in bench.fails(7, "ADD", bench.pod(), conf)["msg"]
    conf = bench.conf()
    conf["ipam"]["routes"] = [{"dst": "198.51.100.0/24", "gw": "fd00::1"}]
    assert "fd00::1" in str(bench.fails(6, "ADD", bench.pod(), conf))


@row("9", "disableContainerInterface keeps the interface in the result, and down", reference=None)
def _disabled(bench: Bench) -> None:
    pod = bench.pod()
    conf = bench.conf(
        ipam=None, isGateway=None, isDefaultGateway=None, disableContainerInterface=True
    )
    conf["prevResult"] = result = bench.add(pod, conf)
    assert [item["name"] for item in result["interfaces"][2:]] == ["eth0"]
    assert result["interfaces"][2]["sandbox"] == str(pod.space.path)
    assert result["interfaces"][2]["mac"] == pod.link()["address"]
    assert "UP" not in pod.link()["flags"]
    bench.call("CHECK", pod, conf).ok()
    bench.call("DEL", pod, conf).ok()


@row("17", "args.cni has tuning's options, and comes before the configuration", reference=None)
def _args_tuning(bench: Bench) -> None:
    key, other = "net.ipv4.conf.IFNAME.arp_filter", "net.core.somaxconn"
    args = {"sysctl": {key: "1"}, "promisc": True, "allmulti": True, "mtu": 1300, "txQLen": 55}
    pod = bench.pod()
    conf = bench.conf(sysctl={key: "0", other: "600"}, args={"cni": args}, mtu=1400, txQLen=44)
    conf["prevResult"] = result = bench.add(pod, conf)
    link = pod.link()
    assert {"PROMISC", "ALLMULTI"} <= set(link["flags"])
    assert (link["mtu"], link["txqlen"]) == (1300, 55)
    assert result["interfaces"][2]["mtu"] == 1300
    found = [pod.space.run("sysctl", "-n", it.replace("IFNAME", "eth0")) for it in (key, other)]
    assert [text.strip() for text in found] == ["1", "600"]
    bench.call("CHECK", pod, conf).ok()


@row("17", "a chained tuning takes them from args.cni", reference=True)
def _args_chained(bench: Bench) -> None:
    pod = bench.pod()
    result = bench.add(pod, bench.conf(cniVersion="1.0.0"))
    args = {"promisc": True, "mtu": 1300, "txQLen": 55, "sysctl": {"net.core.somaxconn": "601"}}
    tuning = {
        "cniVersion": "1.0.0",
        "name": bench.conf()["name"],
        "type": "tuning",
        "sysctl": {},
        "dataDir": str(bench.node.files / "tuning"),
        "prevResult": result,
        "args": {"cni": args | ({"allmulti": True} if bench.kind == "podwire-cni" else {})},
    }
    program = bench.node.plugin
    if bench.kind == "bridge":
        program = program.with_name("tuning")
    bench.node.execute(
        tuning,
        program,
        command="ADD",
        containerid=pod.container_id,
        netns=str(pod.space.path),
        ifname="eth0",
    ).ok()
    link = pod.link()
    assert "PROMISC" in link["flags"]
    assert link["mtu"] == 1300
    assert pod.space.run("sysctl", "-n", "net.core.somaxconn").strip() == "601"
    if bench.kind == "podwire-cni":  # newer than Debian's reference
        assert link["txqlen"] == 55
        assert "ALLMULTI" in link["flags"]


@row("9", "an empty list in the section dns replaces what IPAM says", reference=False)
def _empty_dns(bench: Bench) -> None:
    # the reference later than 1.1.1 does so too; that one never asks IPAM
    resolv = bench.node.files / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\nsearch example.org\n")
    for dns, expected in (
        (None, ["192.0.2.53"]),
        ({}, ["192.0.2.53"]),
        ({"nameservers": []}, []),
        ({"options": []}, []),
        ({"domain": "example.com"}, []),
    ):
        conf = bench.conf(dns=dns)
        conf["ipam"]["resolvConf"] = str(resolv)
        assert bench.add(bench.pod(), conf)["dns"].get("nameservers", []) == expected, dns


@row("16", "an empty list of the runtime's servers replaces what IPAM says", reference=None)
def _empty_runtime_dns(bench: Bench) -> None:
    resolv = bench.node.files / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n")
    for servers, expected in ((None, ["192.0.2.53"]), ([], [])):
        conf = bench.conf(runtimeConfig={"dns": {"servers": servers}})
        conf["ipam"]["resolvConf"] = str(resolv)
        assert bench.add(bench.pod(), conf)["dns"].get("nameservers", []) == expected


@row("17", "plugins without arguments of their own pass over CNI_ARGS", reference=True)
def _args_of_others(bench: Bench) -> None:
    pod = bench.pod()
    result = bench.add(pod, bench.conf(cniVersion="1.0.0"))
    base = {"cniVersion": "1.0.0", "name": bench.conf()["name"], "prevResult": result}
    for kind in ("portmap", "bandwidth", "firewall", "loopback"):
        conf = base | {"type": kind, "backend": "iptables" if kind == "firewall" else None}
        conf = {key: value for key, value in conf.items() if value is not None}
        program = bench.node.plugin
        if bench.kind == "bridge":
            program = program.with_name(kind)
        for verb in ("ADD", "DEL"):
            bench.node.execute(
                conf,
                program,
                command=verb,
                containerid=pod.container_id,
                netns=str(pod.space.path),
                ifname="lo" if kind == "loopback" else "eth0",
                args="K8S_POD_NAME=x;odd",
            ).ok()


@row("11", "CHECK of a version without a route's scope accepts the route", reference=None)
def _check_scope(bench: Bench) -> None:
    for version in ("0.4.0", "1.0.0", "1.1.0"):
        pod, conf = bench.pod(), bench.conf(cniVersion=version)
        conf["ipam"]["routes"] = [{"dst": "198.51.100.0/24", "scope": 253}]
        conf["prevResult"] = bench.add(pod, conf)
        assert "198.51.100.0/24 dev eth0 proto static scope link" in pod.space.ip("route")
        bench.call("CHECK", pod, conf).ok()
        pod.space.ip("route", "del", "198.51.100.0/24")
        bench.fails(101, "CHECK", pod, conf)
        bench.call("DEL", pod, conf).ok()


@row("1", "a container ID may be long", reference=True)
def _long_id(bench: Bench) -> None:
    for length in (236, 255):
        pod, conf = bench.pod(), bench.conf()
        pod.container_id = pod.container_id.ljust(length, "x")
        for name in ("eth0", "é0"):
            result = bench.add(pod, conf, ifname=name)
            bench.call("CHECK", pod, conf | {"prevResult": result}, ifname=name).ok()
            bench.call("DEL", pod, conf, ifname=name).ok()
    assert bench.reservations() == {}


@row("13", "GC removes the link of a network whose name is long", reference=None)
def _collect_long(bench: Bench) -> None:
    conf = bench.conf(name=f"n{bench.number}".ljust(250, "x"))
    host = bench.add(bench.pod(), conf)["interfaces"][1]["name"]
    bench.node.execute(conf | {"cni.dev/valid-attachments": []}, command="GC").ok()
    assert host not in bench.node.links()


@row("R5", "a failed chained ADD leaves no limit on the interface's other end", reference=False)
def _bandwidth_fails(bench: Bench) -> None:
    pod = bench.pod()
    result = bench.add(pod, bench.conf(cniVersion="1.0.0"))
    host = result["interfaces"][1]["name"]
    bench.node.space.run("tc", "qdisc", "add", "dev", host, "clsact")  # as an eBPF program needs
    before = bench.node.space.run("tc", "qdisc", "show", "dev", host)
    rates = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
    rates |= {"egressRate": 8_000_000, "egressBurst": 800_000}
    conf = {"cniVersion": "1.0.0", "name": bench.conf()["name"], "type": "bandwidth"}
    conf |= {"prevResult": result} | rates
    program = bench.node.plugin
    if bench.kind == "bridge":
        program = program.with_name("bandwidth")
    answer = bench.node.execute(
        conf,
        program,
        command="ADD",
        containerid=pod.container_id,
        netns=str(pod.space.path),
        ifname="eth0",
    )
    assert answer.code != 0
    assert bench.node.space.run("tc", "qdisc", "show", "dev", host) == before
