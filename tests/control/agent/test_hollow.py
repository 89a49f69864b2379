# ruff: noqa: ASYNC110  tests wait for the world
"""Hollow nodes beside a real API server: each is a node to everybody else, with a node's rights."""

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from click.testing import CliRunner

from control.agent.hollow import cli
from control.agent.hollow.nodes import LABEL, TAINT, HollowNode, HollowSettings, run_nodes
from control.api import kinds
from control.api.pod import Pod
from control.client import Client, ClientError
from control.client.kubeconfig import load
from control.pki import Identity, Pair, issue, kubeconfig
from control.tokens import TokenSigner
from tests.support.control.cluster import running
from tests.support.control.secured import Secured, secured_server
from tests.support.control.signing import key

NAMES = ("hollow-1", "hollow-2", "hollow-10")


def credentials(server: Secured, name: str) -> Path:
    authority = Pair.load(server.folder, "ca")
    user = f"system:node:{name}"
    shown = issue(authority, Identity(user, ("system:nodes",)))
    path = server.folder / "hollow" / f"{name}.kubeconfig"
    path.parent.mkdir(exist_ok=True)
    path.write_text(kubeconfig("test", server.url, authority.certificate, user, shown))
    return path


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Secured]:
    tokens = TokenSigner(key())
    async with secured_server(tmp_path, modes=("Node", "RBAC"), tokens=tokens) as made:
        nodes = [
            HollowNode(name, (f"172.31.1.{number}",), load(credentials(made, name)))
            for number, name in enumerate(NAMES, 1)
        ]
        async with running(run_nodes(nodes, HollowSettings(tmp_path / "root"))):
            yield made


@pytest.fixture
async def client(server: Secured) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(server.kubeconfig) as made:
        for number, name in enumerate(NAMES):
            ranges = [f"10.244.{number}.0/24"]
            change = {"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}}
            await until(lambda name=name: registered(made, name))
            await made.patch(kinds.NODE, None, name, change)
        yield made


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def registered(client: Client, name: str) -> bool:
    return any(node.metadata.name == name for node in (await client.list(kinds.NODE)).items)


def pod(name: str, node: str) -> Pod:
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    container = {"name": "main", "image": "registry.test/any:1", "readinessProbe": probe}
    spec = {"nodeName": node, "containers": [container], "automountServiceAccountToken": False}
    return Pod.parse({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def is_ready(client: Client, name: str) -> bool:
    found = await client.get(kinds.POD, "default", name)
    return any((it.type, it.status) == ("Ready", "True") for it in found.status.conditions)


async def test_each_is_ready_with_a_lease_a_label_and_a_taint(client: Client) -> None:
    for name in NAMES:

        async def ready(name: str = name) -> bool:
            node = await client.get(kinds.NODE, None, name)
            return any((it.type, it.status) == ("Ready", "True") for it in node.status.conditions)

        await until(ready)
        node = await client.get(kinds.NODE, None, name)
        assert node.metadata.labels[LABEL[0]] == LABEL[1]
        assert TAINT in [(it.key, it.value, it.effect) for it in node.spec.taints]
        lease = await client.get(kinds.LEASE, "kube-node-lease", name)
        assert lease.spec.holder_identity == name


async def test_its_pods_run_with_addresses_of_its_range_and_end(client: Client) -> None:
    await client.get(kinds.NAMESPACE, None, "default")
    for number in range(5):
        await client.create(kinds.POD, pod(f"p{number}", NAMES[number % 2]))
    for number in range(5):
        await until(lambda number=number: is_ready(client, f"p{number}"))
    pods = (await client.list(kinds.POD)).items
    for each in pods:
        number = NAMES.index(each.spec.node_name)
        assert ip_address(each.status.pod_ip) in ip_network(f"10.244.{number}.0/24")
    assert len({each.status.pod_ip for each in pods}) == 5
    for number in range(5):
        await client.delete(kinds.POD, "default", f"p{number}")

    async def gone() -> bool:
        return not (await client.list(kinds.POD)).items

    await until(gone)


async def test_it_may_write_no_other_node(server: Secured, client: Client) -> None:
    own = Client(load(server.folder / "hollow" / "hollow-1.kubeconfig"))
    async with own as node:
        with pytest.raises(ClientError, match="forbidden"):
            await node.patch(kinds.NODE, None, NAMES[1], {"metadata": {"labels": {"a": "b"}}})


def test_nodes_have_addresses_in_the_order_of_their_numbers(tmp_path, monkeypatch) -> None:
    for name in reversed(NAMES):
        (tmp_path / f"{name}.kubeconfig").write_text("")
    monkeypatch.setattr(cli, "configuration", lambda path: path)
    found = cli._Folder(tmp_path, ("172.31.1.1", "fd00::1")).nodes()
    assert [(node.name, *node.addresses) for node in found] == [
        ("hollow-1", "172.31.1.1", "fd00::1"),
        ("hollow-2", "172.31.1.2", "fd00::2"),
        ("hollow-10", "172.31.1.3", "fd00::3"),
    ]


def test_files_that_come_later_are_further_nodes_with_the_next_addresses(tmp_path, caplog) -> None:
    server = {"cluster": {"server": "http://127.0.0.1:1"}, "name": "c"}
    context = {"context": {"cluster": "c", "user": "u"}, "name": "x"}
    whole = {"clusters": [server], "contexts": [context], "current-context": "x"}
    text = json.dumps({**whole, "users": [{"name": "u", "user": {}}]})
    (tmp_path / "hollow-1.kubeconfig").write_text(text)
    folder = cli._Folder(tmp_path, ("172.31.1.1",))
    assert [node.name for node in folder.nodes()] == ["hollow-1"]
    assert folder.further() == []
    (tmp_path / "hollow-2.kubeconfig").write_text("x: [")
    (tmp_path / "hollow-3.kubeconfig").write_text(text)
    (tmp_path / "hollow-4.kubeconfig.new").write_text("")
    assert [(node.name, node.addresses) for node in folder.further()] == [
        ("hollow-3", ("172.31.1.3",))
    ]
    assert "hollow-2.kubeconfig" in caplog.text and folder.further() == []


async def test_a_node_that_comes_later_disturbs_none(tmp_path: Path) -> None:
    tokens, further = TokenSigner(key()), list[HollowNode]()

    def come() -> list[HollowNode]:
        return [further.pop()] if further else []

    async with secured_server(tmp_path, modes=("Node", "RBAC"), tokens=tokens) as server:
        first, second = (
            HollowNode(name, (f"172.31.1.{number}",), load(credentials(server, name)))
            for number, name in enumerate(NAMES[:2], 1)
        )
        settings = HollowSettings(tmp_path / "root")
        async with (
            running(run_nodes([first], settings, come)),
            Client.from_kubeconfig(server.kubeconfig) as client,
        ):
            await until(lambda: registered(client, NAMES[0]))
            before = await client.get(kinds.NODE, None, NAMES[0])
            further.append(second)
            await until(lambda: registered(client, NAMES[1]))
            after = await client.get(kinds.NODE, None, NAMES[0])
            assert after.metadata.uid == before.metadata.uid


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("note.txt", "want files NAME.kubeconfig in it"),
        ("Node_1.kubeconfig", "no name of a node"),
        ("n1.kubeconfig", "n1.kubeconfig"),
    ],
)
def test_a_folder_without_nodes_is_refused(tmp_path, name: str, says: str) -> None:
    (tmp_path / name).write_text("x: [")
    words = [f"--kubeconfig-dir={tmp_path}", "--first-node-ip=172.31.1.1"]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 2 and says in done.output
