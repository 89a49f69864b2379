"""The node and node lifecycle controllers do what upstream's do, with upstream's rights."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.agent.node.describe import NodeIdentity
from control.agent.node.describe import node as registered
from control.api import kinds
from control.api.node import Node, NodeStatus
from control.client import ApiError, Client, ClientConfig, Informer
from control.client.kubeconfig import Credentials
from control.cloud.lab.instances import LabInstances
from control.cloud.lab.rows import MACHINES, RUNNING, describe
from control.cloud.nodes import controller, decide, lifecycle
from control.cloud.provider import CloudError
from control.controllers.accounts import AccountClients
from control.metrics import Registry
from control.tokens import TokenSigner
from tests.support.control.cluster import running, until
from tests.support.control.guarded import guarded_server

MAIN = (decide.UNINITIALIZED, "true", "NoSchedule")


def put(path: Path, content: Any) -> None:
    """Replace a file as a lab does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)


class World:
    """A cluster of a cloud that is two files."""

    def __init__(self, admin: Client, folder: Path, registry: Registry) -> None:
        self.admin, self.folder, self.registry = admin, folder, registry
        self.machines: dict[str, tuple[str, ...]] = {"n1": ("192.0.2.1", "2001:db8::1")}
        self.write()

    def write(self, *off: str) -> None:
        rows = [describe("x", name, ips, "z1") for name, ips in self.machines.items()]
        put(self.folder / MACHINES, rows)
        put(self.folder / RUNNING, [name for name in self.machines if name not in off])

    async def register(self, name: str, *ips: str) -> Node:
        """Create the Node of an agent that runs with a cloud."""
        identity = NodeIdentity(name, ips, cloud=True)
        made = await self.admin.create(kinds.NODE, registered(identity, NodeStatus()))
        assert MAIN in taints(made)
        return made

    async def get(self, name: str) -> Node | None:
        try:
            return await self.admin.get(kinds.NODE, None, name)
        except ApiError as err:
            if err.not_found:
                return None
            raise

    async def becomes(self, name: str, status: str) -> None:
        condition = {"type": "Ready", "status": status}
        change = {"status": {"conditions": [condition]}}
        await self.admin.patch(
            kinds.NODE, None, name, change, type="strategic", subresource="status"
        )

    async def has(self, name: str, what: str, holds: Any) -> Node:
        found: list[Node] = []

        async def so() -> bool:
            node = await self.get(name)
            if node is not None and holds(node):
                found.append(node)
            return bool(found)

        await until(so, f"{name}: {what}")
        return found[0]

    async def told(self, name: str, reason: str) -> str:
        found: list[str] = []

        async def written() -> bool:
            events = (await self.admin.list(kinds.EVENT, "default")).items
            mine = [it for it in events if (it.involved_object.name, it.reason) == (name, reason)]
            found.extend(f"{it.source.component}: {it.message}" for it in mine if it.source)
            return bool(found)

        await until(written, f"Event {reason} of {name}")
        return found[0]


def taints(node: Node) -> set[tuple[str, str | None, str]]:
    return {(it.key, it.value, it.effect) for it in node.spec.taints}


def addresses(node: Node) -> list[tuple[str, str]]:
    return [(it.type, it.address) for it in node.status.addresses]


@pytest.fixture
async def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[World]:
    caplog.set_level(logging.WARNING)
    async with serving(tmp_path) as made:
        yield made
    assert [text for text in caplog.messages if "orbidden" in text or "failed" in text] == []


@asynccontextmanager
async def serving(folder: Path, *, own: bool = False) -> AsyncIterator[World]:
    """Run the controllers with their accounts, or with the ``own`` rights of the process."""
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("Node", "RBAC", tokens=signer) as server:

        def client(user: str) -> Client:
            return Client(ClientConfig(server.url, credentials=Credentials(token=user)))

        components = controller.COMPONENT, lifecycle.COMPONENT
        async with client("root") as admin, client("system:cloud-controller-manager") as mine:
            registry = Registry()
            made = World(admin, folder, registry)
            async with AccountClients(mine, components) as accounts:
                nodes, cloud = Informer(mine, kinds.NODE), LabInstances(folder)
                first, second = (mine if own else accounts.client(it) for it in components)
                parts = (
                    nodes.run(),
                    controller.NodeController(nodes, cloud, first, registry, period=0.1).run(),
                    lifecycle.NodeLifecycleController(nodes, cloud, second, period=0.1).run(),
                )
                async with running(*parts):
                    yield made


async def test_a_node_that_registers_gets_what_the_cloud_knows(world: World) -> None:
    await world.register("n1", "192.0.2.1")
    node = await world.has("n1", "has addresses", lambda it: it.status.addresses)
    assert decide.UNINITIALIZED not in {key for key, _, _ in taints(node)}
    assert node.spec.provider_id == "lab://x/n1"
    labels = node.metadata.labels
    assert {labels[key] for key in decide.ZONE} == {"z1"}
    assert {labels[key] for key in decide.REGION} == {"x"}
    assert {labels[key] for key in decide.TYPE} == {"lab-machine"}
    # --node-ip names one: the machine's other address of the type is left out.
    assert addresses(node) == [("InternalIP", "192.0.2.1"), ("Hostname", "n1")]
    text = await world.told("n1", "Synced")
    assert text == "cloud-node-controller: Node synced successfully"
    page = world.registry.text()
    assert "node_controller_cloud_provider_taint_removal_delay_seconds_count 1" in page
    assert "node_controller_initial_node_sync_delay_seconds_count 1" in page


async def test_a_node_waits_for_its_machine(world: World) -> None:
    """Other taints stay; the lab's own are taken away when the machine is known."""
    await world.register("n2", "192.0.2.2")
    await world.register("n1", "192.0.2.1")
    await world.has("n1", "initialized", lambda it: not decide.waits(it))
    waiting = await world.get("n2")
    assert waiting is not None and decide.waits(waiting)  # nor deleted: it was never the cloud's
    world.machines["n2"] = ("192.0.2.2",)
    world.write()
    node = await world.has("n2", "initialized", lambda it: not decide.waits(it))
    assert {key for key, _, _ in taints(node)} == {"node.kubernetes.io/not-ready"}


async def test_addresses_follow_the_machine(world: World) -> None:
    await world.register("n1")
    await world.has("n1", "has 3 addresses", lambda it: len(it.status.addresses) == 3)
    world.machines["n1"] = ("192.0.2.9",)
    world.write()
    wanted = [("InternalIP", "192.0.2.9"), ("Hostname", "n1")]
    await world.has("n1", "has the new address", lambda it: addresses(it) == wanted)


async def test_a_machine_that_is_off_is_tainted_until_it_is_ready(world: World) -> None:
    mark = (decide.SHUTDOWN, None, "NoSchedule")
    await world.register("n1", "192.0.2.1")
    await world.has("n1", "initialized", lambda it: not decide.waits(it))
    await world.becomes("n1", "True")
    world.write("n1")
    await world.becomes("n1", "Unknown")
    await world.has("n1", "is marked", lambda it: mark in taints(it))
    world.write()
    await world.becomes("n1", "True")
    await world.has("n1", "is marked no more", lambda it: mark not in taints(it))


async def test_a_node_whose_machine_is_gone_is_deleted(world: World) -> None:
    """Not while it is ready: a kubelet that speaks has a machine."""
    world.machines["n2"] = ("192.0.2.2",)
    world.write()
    for name in ("n1", "n2"):
        await world.register(name)
        await world.has(name, "initialized", lambda it: not decide.waits(it))
        await world.becomes(name, "True")
    world.machines.clear()
    world.write()
    await world.becomes("n1", "Unknown")

    async def gone() -> bool:
        return await world.get("n1") is None

    await until(gone, "n1 is gone")
    assert await world.get("n2") is not None
    assert await world.told("n1", "DeletingNode") == (
        "cloud-node-lifecycle-controller: Deleting node n1 because it does not exist in the cloud "
        "provider"
    )


async def test_without_accounts_the_process_has_the_rights_of_both(tmp_path: Path) -> None:
    async with serving(tmp_path, own=True) as world:
        await world.register("n1")
        await world.has("n1", "has addresses", lambda it: it.status.addresses)
        await world.told("n1", "Synced")
        world.write("n1")
        await world.has(
            "n1", "is marked", lambda it: decide.SHUTDOWN in {t.key for t in it.spec.taints}
        )
        world.machines.clear()
        world.write()

        async def gone() -> bool:
            return await world.get("n1") is None

        await until(gone, "n1 is gone")
        await world.told("n1", "DeletingNode")


async def test_files_that_cannot_be_read_delete_no_node(world: World) -> None:
    await world.register("n1")
    await world.has("n1", "initialized", lambda it: not decide.waits(it))
    put(world.folder / MACHINES, {"not": "a list of machines"})
    await world.becomes("n1", "Unknown")
    node = await world.get("n1")
    assert node is not None
    with pytest.raises(CloudError, match=f"{MACHINES}: TypeError"):
        await LabInstances(world.folder).exists(node)
    (world.folder / MACHINES).unlink()
    with pytest.raises(CloudError, match="start the lab again"):
        await LabInstances(world.folder).exists(node)
    assert await world.get("n1") is not None


def node(**meta: Any) -> Node:
    return Node.parse({"metadata": {"name": "n1"} | meta})


def test_an_address_that_the_machine_has_not_keeps_the_taint() -> None:
    wrong = node(annotations={decide.NODE_IP: "192.0.2.7"})
    given = [{"type": "InternalIP", "address": "192.0.2.1"}]
    with pytest.raises(CloudError, match=r"n1 is not valid: .* matches ip: 192.0.2.7"):
        decide.enforced(wrong, Node.parse({"status": {"addresses": given}}).status.addresses)


def test_newer_labels_follow_the_older_ones() -> None:
    zone, newer = decide.ZONE
    assert decide.relabeled(node(labels={newer: "a"})) == {}
    assert decide.relabeled(node(labels={zone: "a"})) == {newer: "a"}
    assert decide.relabeled(node(labels={zone: "a", newer: "b"})) == {newer: "a"}
    assert decide.relabeled(node(labels={zone: "a", newer: "a"})) == {}
