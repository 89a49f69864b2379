"""``podwire cni install | uninstall | list | gc | check``, and the release of lost addresses."""

import base64
import json
import os
import subprocess
import time

import pytest

from tests.support.cni.runner import REFERENCE, ROOT, Json, Node, Pod

SHOWN = {"NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "HOST", "LINK", "ALIVE"}


def podwire(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = node.space.argv(str(ROOT / "bin/podwire"), "cni", *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def places(node: Node) -> list[str]:
    return ["--data-dir", str(node.data), "--cache-dir", str(node.files / "results")]


def remember(node: Node, pod: Pod, conf: Json, result: Json) -> None:
    """Write libcni's cache entry of an ADD."""
    plugin = {key: conf[key] for key in conf.keys() - {"name", "cniVersion", "runtimeConfig"}}
    conflist = {"cniVersion": "1.0.0", "name": conf["name"], "plugins": [plugin]}
    item = {
        "kind": "cniCacheV1",
        "containerId": pod.container_id,
        "ifName": "eth0",
        "networkName": conf["name"],
        "netns": str(pod.space.path),
        "result": result,
        "config": base64.b64encode(json.dumps(conflist).encode()).decode(),
        "capabilityArgs": conf.get("runtimeConfig", {}),
    }
    folder = node.files / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{conf['name']}-{pod.container_id}-eth0").write_text(json.dumps(item))


def make_old(node: Node) -> None:
    """Make the reservations older than any running ADD."""
    for path in (node.data / "net").iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))


def test_install_and_uninstall(node, pod, tmp_path):
    folders = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    subnets = ["--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64"]
    done = podwire(node, "install", *folders, *subnets, "--name", "mine", "--bridge", "br5")
    assert (done.returncode, done.stderr) == (0, "")
    program, network = (tmp_path / "bin/podwire-cni", tmp_path / "net.d/10-mine.conflist")
    loopback = tmp_path / "bin/loopback"
    assert done.stdout.split() == [str(program), str(loopback), str(network)]
    assert podwire(node, "install", *folders, "--no-conf").stdout.split() == [str(program)]
    conflist = json.loads(network.read_text())
    assert conflist["cniVersions"] == ["1.0.0", "1.1.0"]
    conf = conflist["plugins"][0] | {"name": "mine", "cniVersion": "1.0.0"}
    conf["ipam"]["dataDir"] = str(node.data)
    lo = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}
    one = pod()
    # a copy in another folder, with and without a server
    for socket in (str(node.socket), "/nowhere"):
        environment = {"PODWIRE_CNI_SOCKET": socket}
        variables = {
            "containerid": one.container_id,
            "netns": str(one.space.path),
            "ifname": "eth0",
        }
        for verb in ("ADD", "DEL"):
            node.execute(conf, program, environment, command=verb, **variables).ok()
            node.execute(lo, loopback, environment, command=verb, **variables).ok()
    (tmp_path / "net.d/20-other.conflist").write_text('{"plugins": [{"type": "bridge"}]}')
    (tmp_path / "net.d/30-odd.conflist").write_text('{"plugins": null}')
    done = podwire(node, "uninstall", *folders)
    assert done.returncode == 0
    left = sorted(path.name for path in (tmp_path / "net.d").iterdir())
    assert left == ["20-other.conflist", "30-odd.conflist"]
    assert list((tmp_path / "bin").iterdir()) == []
    assert podwire(node, "uninstall", *folders).stdout == ""


def test_uninstall_refuses_while_containers_are_attached(node, pod, tmp_path):
    folders = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    assert podwire(node, "install", *folders, "--name", "net", "--bridge", "pw0").returncode == 0
    one, other = pod(), pod()
    node.add(one)
    node.add(other, node.conf(name="another"))  # of no list in this folder
    done = podwire(node, "uninstall", *folders, *places(node))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"net {one.container_id} eth0 10.1.0." in done.stderr
    assert other.container_id not in done.stderr
    assert (tmp_path / "bin/podwire-cni").exists()
    node.delete(one)
    done = podwire(node, "uninstall", *folders, *places(node))
    assert done.returncode == 0
    assert list((tmp_path / "bin").iterdir()) == []
    podwire(node, "install", *folders, "--name", "another")
    done = podwire(node, "uninstall", *folders, *places(node), "--force")
    assert (done.returncode, done.stderr) == (0, "")
    node.delete(other, node.conf(name="another"))


def test_install_warns_of_a_subnet_that_a_neighbor_has(node, tmp_path):
    folders = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path)]
    plugin = {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "x"}]]}}
    theirs = {"name": "podman", "plugins": [plugin]}
    (tmp_path / "87-podman.conflist").write_text(json.dumps(theirs))
    (tmp_path / "88-odd.conf").write_text("[[]]")
    assert podwire(node, "install", *folders).stderr == ""
    plugin["ipam"]["ranges"] = [[{"subnet": "10.77.4.0/24"}], [{"subnet": "fd00::/64"}]]
    (tmp_path / "87-podman.conflist").write_text(json.dumps(theirs))
    done = podwire(node, "install", *folders)
    assert done.returncode == 0
    assert "10.77.0.0/16 overlaps 10.77.4.0/24 of network podman" in done.stderr
    assert podwire(node, "install", *folders, "--subnet", "10.66.0.0/16").stderr == ""


@pytest.mark.parametrize("other", [REFERENCE / "loopback", None])
def test_an_existing_loopback_plugin_stays(node, tmp_path, other):
    theirs = tmp_path / "loopback"
    theirs.symlink_to(other) if other else theirs.write_bytes(b"#!/bin/sh\n")
    folders = ["--bin-dir", str(tmp_path), "--conf-dir", str(tmp_path)]
    assert str(theirs) not in podwire(node, "install", *folders).stdout.split()
    assert podwire(node, "uninstall", *folders).returncode == 0
    assert list(tmp_path.iterdir()) == [theirs]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--subnet", "10.0.0.1/24"],
        ["--subnet", "10.0.0.0/31"],
        ["--name", "../x"],
        ["--bridge", "a/b"],
        ["--mtu", "70000"],
    ],
)
def test_wrong_options_print_an_error_and_change_nothing(node, tmp_path, arguments):
    done = podwire(
        node, "install", "--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path), *arguments
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_list_and_gc(node, pod):
    live, vanished, young = pod(), pod(), pod()
    for each in (live, vanished):
        node.add(each)
    make_old(node)
    node.add(young)
    for each in (vanished, young):
        node.space.ip("link", "del", node.host_link(each))
    shown = {
        item["container_id"]: item
        for item in json.loads(podwire(node, "list", "-o", "json", *places(node)).stdout)
    }
    assert shown[live.container_id]["addresses"] == [
        item.partition("/")[0] for item in live.addresses()
    ]
    assert {name: item["alive"] for name, item in shown.items()} == {
        live.container_id: True,
        vanished.container_id: False,
        young.container_id: True,
    }
    table = podwire(node, "list", *places(node)).stdout.splitlines()
    assert set(table[0].split()) == SHOWN
    assert len(table) == 4
    dry = podwire(node, "gc", "--dry-run", *places(node))
    assert dry.stdout.startswith(f"would remove net {vanished.container_id} eth0")
    assert len(node.reservations()) == 3
    assert podwire(node, "gc", *places(node)).returncode == 0
    left = {held.split("\r\n")[0] for held in node.reservations().values()}
    assert left == {live.container_id, young.container_id}
    for each in (live, young):
        node.delete(each)


_CACHED = {
    "kind": "cniCacheV1",
    "containerId": "x",
    "ifName": "eth0",
    "networkName": "net",
    "result": {},
    "config": base64.b64encode(b'{"plugins": [{"type": "podwire-cni"}]}').decode(),
}


@pytest.mark.parametrize(
    "odd",
    [
        [],
        None,
        "x",
        {},
        {"config": None},
        {"config": "W10="},
        {"result": None},
        {"netns": 5},
        {"result": {"interfaces": [None]}},
        {"containerId": 5},
        {"capabilityArgs": 5},
    ],
)
def test_files_of_another_form_are_ignored(node, pod, odd, tmp_path):
    """In libcni's cache and among the reservations, beside those of a live container."""
    one = pod()
    node.add(one)
    cache = tmp_path / "results"
    (cache / "folder").mkdir(parents=True)
    (cache / "odd").write_text(json.dumps(_CACHED | odd if isinstance(odd, dict) else odd))
    folder = node.data / "net" / "10.1.0.99"
    folder.mkdir()
    for command in (["list"], ["gc", "--dry-run"]):
        done = podwire(node, *command, "--data-dir", str(node.data), "--cache-dir", str(cache))
        assert (done.returncode, done.stderr) == (0, ""), done
    done = podwire(node, "check", "--cache-dir", str(cache))
    assert done.stderr == ""
    folder.rmdir()
    node.delete(one)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("list",), "--cache-dir"),
        (("gc",), "--cache-dir"),
        (("check",), "--cache-dir"),
        (("install", "--no-conf"), "--bin-dir"),
        (("serve",), "--socket"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_permission_error_is_one_line(node, tmp_path, command, option):
    # root without its capabilities: another user could not read the checkout
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    os.chown(secret, 65534, 65534)
    place = str(secret / "results")
    argv = node.space.argv(*bound, str(ROOT / "bin/podwire"), "cni", *command, option, place)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"podwire cni {command[0]}: ")
    assert line.endswith("Permission denied: root can do this (sudo)")


def test_gc_keeps_interfaces_of_another_plugin(node, pod):
    one = pod()
    conf = node.conf(type="bridge", cniVersion="1.0.0", ipam=node.ipam("10.1.0.0/24"))
    conf["ipam"]["type"] = "podwire-cni"
    variables = {
        "containerid": one.container_id,
        "netns": str(one.space.path),
        "ifname": "eth0",
        "path": str(node.plugin.parent),
    }
    node.execute(conf, REFERENCE / "bridge", command="ADD", **variables).ok()
    make_old(node)
    podwire(node, "gc", *places(node))
    assert len(node.reservations()) == 1
    node.execute(conf, REFERENCE / "bridge", command="DEL", **variables).ok()


def test_gc_removes_rules_after_a_change_to_the_reference(node, pod):
    """After the change, bridge removes podwire's interface and host-local its reservation."""
    one = pod()
    ours = node.conf(
        name="back", bridge="br7", ipMasq=True, cniVersion="1.0.0", ipam=node.ipam("10.7.0.0/24")
    )
    node.add(one, ours)
    theirs = ours | {"type": "bridge", "ipMasq": False}
    theirs["ipam"] = ours["ipam"] | {"type": "host-local"}
    node.call("DEL", one, theirs, plugin=REFERENCE / "bridge", path=str(REFERENCE)).ok()
    assert node.reservations("back") == {}
    assert "10.7.0.2" in node.space.run("nft", "list", "ruleset")
    (node.data / "no network").mkdir()
    assert podwire(node, "gc", *places(node)).returncode == 0
    assert "podwire" not in node.space.run("nft", "list", "ruleset")


def test_check_checks_every_attachment_of_libcnis_cache(node, pod):
    one, other = pod(), pod()
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    conf = node.conf(capabilities={"portMappings": True}, runtimeConfig={"portMappings": ports})
    remember(node, one, conf, node.add(one, conf))
    remember(node, other, node.conf(), node.add(other))
    cache = places(node)[2:]
    good = podwire(node, "check", *cache)
    assert good.returncode == 0, good
    assert good.stdout.count(" ok") == 2
    node.space.run("nft", "delete", "table", "inet", "podwire_cni")
    other.space.ip("route", "del", "default")
    bad = podwire(node, "check", "-o", "json", *cache)
    assert bad.returncode == 1
    states = {item["container_id"]: item["state"] for item in json.loads(bad.stdout)}
    assert "firewall" in states[one.container_id]
    assert "0.0.0.0/0" in states[other.container_id]
    for each in (one, other):
        node.delete(each)


def test_lost_addresses_are_released_when_a_range_is_exhausted(node, pod):
    """Only those of interfaces that podwire made, more than a minute ago."""
    tiny = node.conf(ipam=node.ipam("10.6.0.0/29"), name="net", bridge="br6")
    pods = [pod() for _ in range(5)]
    for each in pods:
        node.add(each, tiny)
    for each in pods[:2]:
        node.space.ip("link", "del", node.host_link(each))
    late = pod()
    assert node.call("ADD", late, tiny).document["code"] == 102
    make_old(node)
    node.add(late, tiny)
    assert len(node.reservations()) == 4
    for each in (*pods, late):
        node.delete(each, tiny)


def test_status_checks_the_host(node):
    conf = node.conf(bridge="taken0", ipMasq=True)

    def status() -> Json:
        done = node.execute(conf, command="STATUS", environment={"PODWIRE_CNI_SOCKET": "/nowhere"})
        return json.loads(done.stdout or b"{}")

    links = set(node.links())
    assert status() == {}
    assert set(node.links()) == links
    node.space.ip("link", "add", "taken0", "type", "veth", "peer", "name", "taken1")
    assert status()["code"] == 50
    assert "taken0 is no bridge" in status()["msg"]
    node.space.ip("link", "del", "taken0")
    assert status() == {}


def test_status_fails_when_forwarding_cannot_be_switched_on(spaces, tmp_path):
    """A host whose /proc/sys is read-only, as in a container without privileges."""
    node = Node(spaces("node"), tmp_path)
    read_only = tmp_path / "read-only"
    read_only.write_text(f"#!/bin/sh\nmount --bind -o ro /proc/sys /proc/sys\nexec {node.plugin}\n")
    read_only.chmod(0o755)
    sealed = tmp_path / "sealed"
    sealed.write_text(f"#!/bin/sh\nexec unshare --mount {read_only}\n")
    sealed.chmod(0o755)
    for forwards, code in ((0, 50), (1, None)):
        node.space.sysctl("net.ipv4.ip_forward", forwards)
        answer = node.execute(node.conf(), plugin=sealed, command="STATUS")
        assert json.loads(answer.stdout or b"{}").get("code") == code
