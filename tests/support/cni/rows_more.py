"""The requirements of the other verbs, arguments, delegation; faults of the reference plugins."""

import json
from concurrent.futures import ThreadPoolExecutor

from tests.support.cni.bench import Bench, Row, rows
from tests.support.cni.runner import REFERENCE

ROWS: list[Row] = []
row = rows(ROWS)


@row("12 R2", "STATUS fails when no address is free", reference=None)
def _status(bench: Bench) -> None:
    tiny = bench.conf()
    tiny["ipam"]["ranges"] = [[{"subnet": f"10.{bench.number}.0.0/30"}]]
    assert bench.node.execute(tiny, command="STATUS").ok().stdout == b""
    pod = bench.pod()
    bench.add(pod, tiny)
    refused = bench.node.execute(tiny, command="STATUS").document
    assert refused["code"] == 50
    assert pod.container_id in refused["details"]
    assert pod.container_id in bench.fails(102, "ADD", bench.pod(), tiny)["details"]


@row("12", "STATUS is code 50 when reservations cannot be written", reference=None)
def _status_disk(bench: Bench) -> None:
    file = bench.node.files / "file"
    file.write_text("a folder cannot be below it")
    conf = bench.conf()
    conf["ipam"]["dataDir"] = str(file / "networks")
    assert bench.node.execute(conf, command="STATUS").document["code"] == 50


@row("12", "STATUS executes the IPAM plugin", reference=None)
def _status_delegate(bench: Bench) -> None:
    ipam, folder = bench.spy(fails="STATUS")
    refused = bench.node.execute(bench.conf(ipam=ipam), command="STATUS", path=str(folder))
    assert refused.document["code"] == 111


@row("13 R1", "GC removes attachments that are not valid, and nothing else", reference=None)
def _collect(bench: Bench) -> None:
    keep, lose = bench.pod(), bench.pod()
    conf = bench.conf()
    kept = bench.add(keep, conf)
    lost = bench.add(lose, conf)["interfaces"][1]["name"]
    valid = [{"containerID": keep.container_id, "ifname": "eth0"}]
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        bench.node.execute(conf | {key: valid}, command="GC").ok()
    bench.call("CHECK", keep, conf | {"prevResult": kept}).ok()
    assert lost not in bench.node.links()
    assert len(bench.reservations()) == 1


@row("13", "GC without a list of attachments is an error, not an empty list", reference=None)
def _collect_nothing(bench: Bench) -> None:
    bench.add(bench.pod())
    assert bench.node.execute(bench.conf(), command="GC").document["code"] == 7
    assert len(bench.reservations()) == 1


@row(
    "13", "GC continues after an error and reports it; it executes the IPAM plugin", reference=None
)
def _collect_errors(bench: Bench) -> None:
    ipam, folder = bench.spy(fails="GC")
    conf = bench.conf(ipam=ipam)
    host = bench.add(bench.pod(), conf, path=str(folder))["interfaces"][1]["name"]
    everything = conf | {"cni.dev/valid-attachments": []}
    refused = bench.node.execute(everything, command="GC", path=str(folder))
    assert refused.code == 1
    assert "no" in refused.document["details"]
    assert host not in bench.node.links()


@row("14", "VERSION returns the version, and needs no name", reference=False)
def _version(bench: Bench) -> None:
    found = bench.node.execute({"cniVersion": "0.4.0"}, command="VERSION").ok().document
    assert found["cniVersion"] == "0.4.0"
    assert {"0.1.0", "0.3.1", "0.4.0", "1.0.0"} <= set(found["supportedVersions"])


@row("15", "one container's interfaces are added and deleted concurrently", reference=True)
def _parallel(bench: Bench) -> None:
    pod = bench.pod()
    names = ["eth0", "net1", "net2", "net3"]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: bench.add(pod, ifname=name), names))
        assert len({result["ips"][0]["address"] for result in found}) == 4
        for answer in pool.map(lambda name: bench.call("DEL", pod, ifname=name), names):
            answer.ok()
    assert bench.reservations() == {}


@row("16", "the case of runtimeConfig's keys does not matter", reference=True)
def _case(bench: Bench) -> None:
    result = bench.add(bench.pod(), bench.conf(runtimeConfig={"MAC": "02:00:00:00:00:07"}))
    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:07"


@row("17", "an unknown key in CNI_ARGS is an error, unless IgnoreUnknown=1", reference=True)
def _args(bench: Bench) -> None:
    bench.fails(None, "ADD", bench.pod(), args="K8S_POD_NAME=x")
    bench.add(bench.pod(), args="IgnoreUnknown=1;K8S_POD_NAME=x")


@row("21", "CNI_ARGS that are no pairs, or a boolean that is none, are an error", reference=True)
def _broken_args(bench: Bench) -> None:
    pod = bench.pod()
    for args in (";", "IgnoreUnknown=1;", "IgnoreUnknown=1;K=a=b", "IgnoreUnknown=x"):
        bench.fails(None, "ADD", pod, args=args)
    bench.add(pod, args="IgnoreUnknown=TRUE;K=a")


@row("17 R10", "MAC and IP in CNI_ARGS work together with ranges", reference=False)
def _mac_argument(bench: Bench) -> None:
    wanted = f"10.{bench.number}.0.50"
    result = bench.add(bench.pod(), args=f"MAC=02:00:00:00:00:08;IP={wanted}")
    assert result["ips"][0]["address"] == f"{wanted}/24"
    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:08"


@row("17", "the static IPAM takes several addresses from CNI_ARGS", reference=True)
def _several_addresses(bench: Bench) -> None:
    pod, conf = bench.pod(), bench.conf(ipam={"type": "static"}, cniVersion="1.0.0")
    wanted = "IgnoreUnknown=1;IP=10.79.0.5/24,fd00:79::5/64;GATEWAY=10.79.0.1"
    result = bench.add(pod, conf, args=wanted)
    assert [item["address"] for item in result["ips"]] == ["10.79.0.5/24", "fd00:79::5/64"]
    bench.call("DEL", pod, conf, args=wanted).ok()


@row("17", "args.cni replaces CNI_ARGS", reference=True)
def _args_cni(bench: Bench) -> None:
    args = {"cni": {"mac": "02:00:00:00:00:09"}}
    result = bench.add(bench.pod(), bench.conf(args=args), args="IgnoreUnknown=1")
    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:09"


@row(
    "18",
    "a delegate gets the whole configuration and environment, and its stderr is shown",
    reference=True,
)
def _delegation(bench: Bench) -> None:
    ipam, folder = bench.spy()
    conf = bench.conf(ipam=ipam)
    pod, path = bench.pod(), f"{folder}:{REFERENCE}"
    answer = bench.call("ADD", pod, conf, path=path, args="IgnoreUnknown=1;K8S_POD_NAME=x").ok()
    assert b"spy says ADD" in answer.stderr
    assert answer.document["ips"][0]["address"] == "10.77.0.9/24"
    assert json.loads((folder / "stdin.ADD").read_text()) == conf
    environment = (folder / "environment.ADD").read_text()
    assert f"CNI_NETNS={pod.space.path}" in environment
    assert "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=x" in environment
    bench.call("DEL", pod, conf, path=path).ok()
    assert (folder / "stdin.DEL").exists()


@row(
    "18 R5",
    "an IPAM plugin that fails ADD is executed with DEL, and nothing is left",
    reference=False,
)
def _delegate_fails(bench: Bench) -> None:
    ipam, folder = bench.spy(fails="ADD")
    pod = bench.pod()
    bench.fails(111, "ADD", pod, bench.conf(ipam=ipam), path=f"{folder}:{REFERENCE}")
    assert (folder / "stdin.DEL").exists()
    assert "eth0" not in pod.space.ip("link")


@row("18", "the reference's static IPAM works", reference=True)
def _static(bench: Bench) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.78.0.5/24", "gateway": "10.78.0.1"}]}
    pod = bench.pod()
    conf = bench.conf(ipam=ipam, cniVersion="1.0.0")
    assert bench.add(pod, conf)["ips"][0]["address"] == "10.78.0.5/24"
    assert pod.reaches("10.78.0.1")
    bench.call("DEL", pod, conf).ok()


@row("18", "podwire-cni is the IPAM of the reference's bridge", reference=None)
def _served_addresses(bench: Bench) -> None:
    conf = bench.conf(type="bridge", cniVersion="1.0.0")
    conf["ipam"]["type"] = "podwire-cni"
    pod, bridge = bench.pod(), REFERENCE / "bridge"
    variables = {
        "containerid": pod.container_id,
        "netns": str(pod.space.path),
        "ifname": "eth0",
        "path": str(bench.node.plugin.parent),
    }
    result = bench.node.execute(conf, bridge, command="ADD", **variables).ok().document
    assert pod.addresses() == {result["ips"][0]["address"]}
    assert list(bench.reservations().values()) == [f"{pod.container_id}\r\neth0"]
    asked = conf | {"prevResult": result}
    bench.node.execute(asked, bridge, command="CHECK", **variables).ok()
    bench.node.execute(conf, bridge, command="DEL", **variables).ok()
    assert bench.reservations() == {}


@row("11", "CHECK reports an interface whose tuning has changed", reference=None)
def _check_tuned(bench: Bench) -> None:
    pod = bench.pod()
    conf = bench.conf(allmulti=True, txQLen=77)
    conf["prevResult"] = bench.add(pod, conf)
    bench.call("CHECK", pod, conf).ok()
    pod.space.ip("link", "set", "eth0", "txqueuelen", "78")
    bench.fails(101, "CHECK", pod, conf)


@row("R3", "DEL without a namespace leaves no masquerade rules", reference=False)
def _masquerade_left(bench: Bench) -> None:
    pod = bench.pod()
    address = bench.add(pod, bench.conf(ipMasq=True))["ips"][0]["address"].partition("/")[0]
    bench.call("DEL", pod, bench.conf(ipMasq=True), netns=None).ok()
    rules = bench.node.space.run("nft", "list", "ruleset")
    rules += bench.node.space.run("iptables-save")
    assert address not in rules


@row("R3", "the same with iptables", reference=False)
def _iptables_left(bench: Bench) -> None:
    pod, conf = bench.pod(), bench.conf(ipMasq=True, ipMasqBackend="iptables")
    address = bench.add(pod, conf)["ips"][0]["address"].partition("/")[0]
    assert address in bench.node.space.run("iptables-save")
    bench.call("DEL", pod, conf, netns=None).ok()
    assert address not in bench.node.space.run("iptables-save")


@row("R7", "CHECK reports flushed masquerade rules of iptables", reference=False)
def _iptables_flushed(bench: Bench) -> None:
    pod, conf = bench.pod(), bench.conf(ipMasq=True, ipMasqBackend="iptables")
    conf["prevResult"] = bench.add(pod, conf)
    bench.call("CHECK", pod, conf).ok()
    bench.node.space.run("iptables", "-t", "nat", "-F")
    bench.fails(None, "CHECK", pod, conf)
    bench.call("DEL", pod, conf).ok()


@row("13", "GC removes podwire's masquerade rules of iptables only", reference=None)
def _iptables_collected(bench: Bench) -> None:
    keep, lose, conf = bench.pod(), bench.pod(), bench.conf(ipMasq=True, ipMasqBackend="iptables")
    kept, lost = (
        bench.add(pod, conf)["ips"][0]["address"].partition("/")[0] for pod in (keep, lose)
    )
    valid = [{"containerID": keep.container_id, "ifname": "eth0"}]
    bench.node.execute(conf | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    shown = bench.node.space.run("iptables-save")
    assert f"-s {kept}/32" in shown
    assert f"-s {lost}/32" not in shown
    bench.call("DEL", keep, conf).ok()


@row("R4", "a failed first ADD leaves a working bridge with a permanent MAC", reference=True)
def _first_fails(bench: Bench) -> None:
    wrong = bench.conf()
    wrong["runtimeConfig"] = {"ips": ["192.0.2.1"]}
    bench.fails(None, "ADD", bench.pod(), wrong)
    one, other = bench.pod(), bench.pod()
    first = bench.add(one)["interfaces"][0]["mac"]
    assert bench.add(other)["interfaces"][0]["mac"] == first
    bench.call("DEL", one).ok()
    assert bench.node.links()[bench.conf()["bridge"]]["address"] == first


@row("R6", "a refused namespace is one document", reference=True)
def _one_refusal(bench: Bench) -> None:
    answer = bench.call("ADD", bench.pod(), netns=str(bench.node.space.path))
    assert answer.code != 0
    assert answer.document["code"]


@row("R11", "errors have their version, and results their MTU", reference=False)
def _mtu_and_version(bench: Bench) -> None:
    refused = bench.fails(None, "ADD", bench.pod(), netns="/run/netns/nowhere")
    assert refused["cniVersion"] == bench.version
    result = bench.add(bench.pod(), bench.conf(mtu=1400))
    assert result["interfaces"][2]["mtu"] == 1400


@row("R12", "a torn reservation is released", reference=False)
def _torn(bench: Bench) -> None:
    tiny = bench.conf()
    tiny["ipam"]["ranges"] = [[{"subnet": f"10.{bench.number}.0.0/30"}]]
    folder = bench.node.data / tiny["name"]
    folder.mkdir(parents=True)
    (folder / f"10.{bench.number}.0.2").write_bytes(b"")
    bench.add(bench.pod(), tiny)


@row("R14", "the MTU is that of the uplink", reference=False)
def _uplink(bench: Bench) -> None:
    space = bench.node.space
    space.ip("link", "add", "up9", "mtu", "1400", "type", "veth", "peer", "name", "down9")
    try:
        space.ip("address", "add", "203.0.113.1/24", "dev", "up9")
        space.ip("link", "set", "up9", "up")
        space.ip("route", "add", "default", "via", "203.0.113.2", "dev", "up9", "onlink")
        pod = bench.pod()
        bench.add(pod)
        assert pod.link()["mtu"] == 1400
    finally:
        space.ip("link", "del", "up9")


@row("R15", "a reboot releases reservations", reference=None)
def _reboot(bench: Bench) -> None:
    pod = bench.pod()
    bench.add(pod)
    stamp = bench.node.data / ".podwire" / bench.conf()["name"] / ".stamp"
    stamp.unlink()
    stamp.symlink_to("another-boot 1 1")
    other = bench.pod()
    bench.add(other)
    assert [held.split("\r\n")[0] for held in bench.reservations().values()] == [other.container_id]
