"""Calls of CNI plugins: their input, their order, and the cache."""

import asyncio
import json
import stat
from pathlib import Path

import pytest

from control.runtime.base import ContainerRuntimeError, PodRef, PortMapping, SandboxConfig
from control.runtime.cni import conflist
from control.runtime.cni.cache import AttachmentCache, CachedAttachment
from control.runtime.cni.lock import SharedLock
from control.runtime.cni.network import CniNetwork, addresses
from control.runtime.cni.plugin import Attachment, PluginError

# Writes down what it was asked, and answers by the files beside it: NAME.VERB.json, NAME.VERB.fail
_PLUGIN = """#!/usr/bin/python3 -IS
import json, os, sys
me, verb = os.path.basename(sys.argv[0]), os.environ["CNI_COMMAND"]
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
config = json.loads(sys.stdin.buffer.read())
asked = {"plugin": me, "verb": verb, "config": config,
         "env": {k: v for k, v in os.environ.items() if k.startswith("CNI_")}}
with open(folder + "/log", "a") as log:
    log.write(json.dumps(asked) + "\\n")
for name, code in ((verb + ".fail", 1), (verb + ".json", 0)):
    path = folder + "/" + me + "." + name
    if os.path.exists(path):
        print(open(path).read())
        sys.exit(code)
if verb == "ADD":
    print(json.dumps({"cniVersion": config["cniVersion"], "by": me,
                      "ips": [{"address": "10.244.1.5/24"}, {"address": "fd00::5/64"}]}))
"""
_NETWORK = {
    "cniVersion": "1.0.0",
    "cniVersions": ["1.0.0", "1.1.0"],
    "name": "podwire",
    "plugins": [
        {"type": "one", "capabilities": {"portMappings": True, "mac": True}},
        {"type": "two"},
    ],
}
POD = PodRef("default", "web", "uid-1")
CONFIG = SandboxConfig(POD, 0, "web", "/logs", ports=(PortMapping(80, 8080, "TCP"),))


class Node:
    """A node's folders, with two plugins."""

    def __init__(self, root: Path) -> None:
        self.bin, self.conf, self.lib = root / "bin", root / "net.d", root / "lib"
        for folder in (self.bin, self.conf):
            folder.mkdir()
        for name in ("one", "two"):
            (self.bin / name).write_text(_PLUGIN)
            (self.bin / name).chmod(0o755)
        self.write(_NETWORK)
        self.network = CniNetwork(self.conf, (root / "none", self.bin), self.lib)

    def write(self, network, name="10-x.conflist"):
        (self.conf / name).write_text(json.dumps(network))

    def answer(self, plugin, verb, value, kind="json"):
        (self.bin / f"{plugin}.{verb}.{kind}").write_text(
            value if isinstance(value, str) else json.dumps(value)
        )

    @property
    def asked(self):
        log = self.bin / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def calls(self):
        return [(it["plugin"], it["verb"]) for it in self.asked]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


async def test_add_goes_through_the_chain(node):
    assert await node.network.add("box", CONFIG, "/run/netns/x") == ("10.244.1.5", "fd00::5")
    one, two = node.asked
    assert node.calls == [("one", "ADD"), ("two", "ADD")]
    assert one["config"]["runtimeConfig"] == {
        "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": ""}]
    }
    assert "prevResult" not in one["config"] and two["config"]["prevResult"]["by"] == "one"
    assert "runtimeConfig" not in two["config"] and "capabilities" not in one["config"]
    assert (one["config"]["cniVersion"], one["config"]["name"]) == ("1.1.0", "podwire")
    assert one["env"]["CNI_ARGS"] == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
        "K8S_POD_INFRA_CONTAINER_ID=box;K8S_POD_UID=uid-1"
    )
    assert one["env"]["CNI_NETNS"] == "/run/netns/x" and one["env"]["CNI_IFNAME"] == "eth0"


async def test_del_gets_the_result_of_add_in_reverse_order(node):
    await node.network.add("box", CONFIG, "/run/netns/x")
    (node.conf / "10-x.conflist").unlink()
    await node.network.remove("box", CONFIG, "")
    two, one = node.asked[2:]
    assert node.calls[2:] == [("two", "DEL"), ("one", "DEL")]
    assert one["config"]["prevResult"]["by"] == "two" == two["config"]["prevResult"]["by"]
    assert one["config"]["runtimeConfig"]["portMappings"] and one["env"]["CNI_NETNS"] == ""
    assert list((node.lib / "results").iterdir()) == []
    await node.network.remove("box", CONFIG, "")  # no cache entry, and no network
    assert len(node.calls) == 4


async def test_del_without_a_cache_uses_todays_network(node):
    await node.network.remove("box", CONFIG, "")
    assert node.calls == [("two", "DEL"), ("one", "DEL")]


async def test_a_failed_add_is_undone(node):
    error = {"cniVersion": "1.1.0", "code": 11, "msg": "no addresses", "details": "pool"}
    node.answer("two", "ADD", error, "fail")
    with pytest.raises(ContainerRuntimeError, match="no addresses; pool"):
        await node.network.add("box", CONFIG, "/run/netns/x")
    assert node.calls == [("one", "ADD"), ("two", "ADD"), ("two", "DEL"), ("one", "DEL")]
    assert not (node.lib / "results").exists() or not list((node.lib / "results").iterdir())


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("", "json", "printed no result"),
        ("nonsense", "json", "not JSON"),
        ("[]", "json", "not a JSON object"),
        ("Traceback", "fail", "failed with exit code 1"),
    ],
)
async def test_unusual_answers(node, said, kind, text):
    node.answer("one", "ADD", said, kind)
    with pytest.raises(ContainerRuntimeError, match=text):
        await node.network.add("box", CONFIG, "/x")


async def test_a_missing_plugin_is_named(node):
    (node.bin / "one").unlink()
    with pytest.raises(ContainerRuntimeError, match=r'failed to find plugin "one" in path'):
        await node.network.add("box", CONFIG, "/x")


async def test_collect_removes_other_attachments(node):
    for box in ("gone", "kept"):
        await node.network.add(box, CONFIG, "/x")
    other = CachedAttachment("podman", Attachment("theirs", "/y"), b"{}", {}, {})
    AttachmentCache(node.lib).save(other)
    (node.bin / "log").unlink()
    await node.network.collect(lambda: ["kept"])
    assert node.calls == [("two", "DEL"), ("one", "DEL"), ("one", "GC"), ("two", "GC")]
    assert node.asked[0]["env"]["CNI_CONTAINERID"] == "gone"
    assert node.asked[2]["config"]["cni.dev/valid-attachments"] == [
        {"containerID": "kept", "ifname": "eth0"}
    ]
    assert len(AttachmentCache(node.lib).of("theirs")) == 1


async def test_collect_goes_on_past_errors_and_reports_all(node):
    node.answer("one", "GC", {"code": 5, "msg": "first"}, "fail")
    node.answer("two", "GC", {"code": 5, "msg": "second"}, "fail")
    with pytest.raises(PluginError, match=r"first.*second"):
        await node.network.collect(lambda: [])


async def test_status(node):
    assert await node.network.status() == ""
    node.answer("two", "STATUS", {"code": 50, "msg": "not yet"}, "fail")
    assert "not yet" in await node.network.status()
    (node.conf / "10-x.conflist").unlink()
    assert "no networks found" in await node.network.status()


async def test_check_uses_the_result(node):
    await node.network.add("box", CONFIG, "/x")
    (node.bin / "log").unlink()
    await node.network.check("box")
    assert node.calls == [("one", "CHECK"), ("two", "CHECK")]
    assert node.asked[0]["config"]["prevResult"]["by"] == "two"


async def test_an_old_network_has_neither_status_nor_gc(node):
    node.write({"cniVersion": "0.3.1", "name": "old", "type": "one"})
    assert await node.network.status() == ""
    await node.network.collect(lambda: [])
    assert node.calls == []


def test_the_cache_has_libcnis_format(tmp_path):
    cache = AttachmentCache(tmp_path)
    attachment = Attachment("id", "/ns", "eth0", (("K", "V"),))
    cache.save(CachedAttachment("net", attachment, b'{"a":1}', {"mac": "x"}, {"ips": []}))
    path = tmp_path / "results/net-id-eth0"
    value = json.loads(path.read_text())
    assert value["kind"] == "cniCacheV1" and value["config"] == "eyJhIjoxfQ=="
    assert value["cniArgs"] == [["K", "V"]] and value["networkName"] == "net"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cache.find("net", attachment) == CachedAttachment(
        "net", attachment, b'{"a":1}', {"mac": "x"}, {"ips": []}
    )
    path.write_text('{"kind": "cniCacheV1", "half')
    assert cache.all() == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no plugins"),
        ('{"plugins": []}', "no plugins"),
        ('{"name": "x", "plugins": [{"type": "../sh"}]}', "or is a path"),
        ('{"plugins": [{"type": "x"}]}', "has no name"),
        ('{"name": "x", "cniVersion": "9.9.9", "plugins": [{"type": "x"}]}', "not known here"),
    ],
)
def test_invalid_networks(text, why):
    with pytest.raises(conflist.InvalidNetworkConfigError, match=why):
        conflist.parse(text.encode(), "file")


def test_the_first_file_counts(node):
    node.write({"name": "other", "type": "one"}, "05-a.conf")
    assert conflist.load(node.conf).name == "other"


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"ips": [{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}]}, ("10.0.0.1",)),
        ({"ip4": {"ip": "10.0.0.1/8"}, "ip6": {"ip": "fd00::1/64"}}, ("10.0.0.1", "fd00::1")),
        ({}, ()),
    ],
)
def test_addresses_of_any_version(result, found):
    assert addresses(result) == found


async def test_no_sandbox_is_connected_during_gc():
    lock, log = SharedLock(), []

    async def add(name):
        async with lock.shared():
            log.append(f"{name} begins")
            await asyncio.sleep(0.01)
            log.append(f"{name} ends")

    async def collect():
        async with lock.exclusive():
            log.append("gc begins")
            await asyncio.sleep(0.01)
            log.append("gc ends")

    async with asyncio.TaskGroup() as tasks:
        for work in (add("a"), add("b"), collect(), add("c")):
            tasks.create_task(work)
    assert log == [
        "a begins",
        "b begins",
        "a ends",
        "b ends",
        "gc begins",
        "gc ends",
        "c begins",
        "c ends",
    ]
