"""The service controller does what upstream's does, with upstream's rights."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api import kinds
from control.api.service import Service
from control.client import ApiError, Client, ClientConfig
from control.client.kubeconfig import Credentials
from control.cloud.lab.balancers import PoolBalancers
from control.cloud.lab.pools import PoolFile, read_pools
from control.cloud.services import decide
from control.cloud.services.controller import COMPONENT, ServiceController
from control.controllers.accounts import AccountClients
from control.metrics import Registry
from control.tokens import TokenSigner
from tests.support.control.cluster import add_node, ready_node, running, until
from tests.support.control.guarded import guarded_server

POOL = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: default}
spec: {addresses: [192.0.2.1-192.0.2.2]}
"""


def wire(name: str, **spec: Any) -> Service:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]} | spec
    return Service.parse({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


class World:
    """A cluster with the service controller."""

    def __init__(self, admin: Client, registry: Registry) -> None:
        self.admin, self.registry = admin, registry

    async def make(self, name: str, **spec: Any) -> Service:
        return await self.admin.create(kinds.SERVICE, wire(name, **spec))

    async def get(self, name: str) -> Service:
        return await self.admin.get(kinds.SERVICE, "default", name)

    async def change(self, name: str, spec: dict[str, Any]) -> None:
        await self.admin.patch(kinds.SERVICE, "default", name, {"spec": spec})

    async def has(self, name: str, *addresses: str) -> None:
        """Wait until a Service shows exactly these addresses."""

        async def shown() -> bool:
            balancer = (await self.get(name)).status.load_balancer
            return tuple(i.ip for i in (balancer.ingress if balancer else ())) == addresses

        await until(shown, f"{name} has {addresses}")

    async def told(self, name: str, reason: str, namespace: str = "default") -> str:
        """Wait for an Event about a Service, or another object; return its text."""
        found: list[str] = []

        async def written() -> bool:
            events = (await self.admin.list(kinds.EVENT, namespace)).items
            found.extend(
                event.message or ""
                for event in events
                if (event.involved_object.name, event.reason) == (name, reason)
            )
            return bool(found)

        await until(written, f"Event {reason} of {name}")
        return found[-1]

    async def gone(self, name: str) -> None:
        async def absent() -> bool:
            try:
                await self.get(name)
            except ApiError as err:
                return err.not_found
            return False

        await until(absent, f"{name} is gone")


@pytest.fixture
async def world(caplog: pytest.LogCaptureFixture) -> AsyncIterator[World]:
    caplog.set_level(logging.WARNING)
    async with serving() as made:
        yield made
    refused = [text for text in caplog.messages if "orbidden" in text or "nauthorized" in text]
    assert refused == []


@asynccontextmanager
async def serving(file: PoolFile | None = None) -> AsyncIterator[World]:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    registry = Registry()
    async with guarded_server("Node", "RBAC", tokens=signer) as server:

        def client(user: str) -> Client:
            return Client(ClientConfig(server.url, credentials=Credentials(token=user)))

        user = "system:cloud-controller-manager"
        async with client("root") as admin, client(user) as mine:
            await add_node(admin, ready_node("n1"))
            async with AccountClients(mine, [COMPONENT]) as accounts:
                writer = accounts.client(COMPONENT)
                balancers = PoolBalancers(file.read() if file else read_pools(POOL), file)
                balancers.measure(registry)
                controller = ServiceController(mine, balancers, writer=writer, registry=registry)
                async with running(controller.run()):
                    yield World(admin, registry)


async def test_a_service_gets_an_address_and_gives_it_back(world: World) -> None:
    await world.make("a")
    await world.has("a", "192.0.2.1")
    assert await world.told("a", "EnsuringLoadBalancer") == "Ensuring load balancer"
    assert await world.told("a", "EnsuredLoadBalancer") == "Ensured load balancer"
    made = await world.get("a")
    assert made.metadata.finalizers == [decide.FINALIZER]
    assert made.status.load_balancer and made.status.load_balancer.ingress[0].ip_mode == "VIP"
    await world.admin.delete(kinds.SERVICE, "default", "a")
    await world.gone("a")
    assert await world.told("a", "DeletingLoadBalancer") == "Deleting load balancer"
    assert await world.told("a", "DeletedLoadBalancer") == "Deleted load balancer"
    await world.make("b")
    await world.has("b", "192.0.2.1")


async def test_a_change_of_type_takes_and_gives(world: World) -> None:
    await world.make("a")
    await world.has("a", "192.0.2.1")
    await world.change("a", {"type": "ClusterIP", "externalTrafficPolicy": None})
    await world.has("a")
    assert await world.told("a", "Type") == "LoadBalancer -> ClusterIP"

    async def unmarked() -> bool:
        return (await world.get("a")).metadata.finalizers == []

    await until(unmarked, "the finalizer is removed")
    await world.change("a", {"type": "LoadBalancer"})
    await world.has("a", "192.0.2.1")


async def test_a_service_of_another_class_is_left_alone(world: World) -> None:
    await world.make("other", loadBalancerClass="example.com/x")
    await world.make("a")
    await world.has("a", "192.0.2.1")
    left = await world.get("other")
    assert left.metadata.finalizers == []
    assert left.status.load_balancer is None or left.status.load_balancer.ingress == []


async def test_a_refused_service_says_why_and_gets_what_is_freed(world: World) -> None:
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
        await world.make(name)
        await world.has(name, address)
    await world.make("c")
    text = await world.told("c", "SyncLoadBalancerFailed")
    assert text.startswith(
        "Error syncing load balancer: failed to ensure load balancer: no free IPv4 address in "
        "pool default (2 addresses); delete a Service"
    )
    await world.admin.delete(kinds.SERVICE, "default", "a")
    await world.has("c", "192.0.2.1")


async def test_a_requested_address_moves_the_service(world: World) -> None:
    await world.make("a")
    await world.has("a", "192.0.2.1")
    await world.change("a", {"loadBalancerIP": "192.0.2.2"})
    await world.has("a", "192.0.2.2")
    assert await world.told("a", "LoadbalancerIP") == " -> 192.0.2.2"


async def test_a_new_set_of_nodes_is_told(world: World) -> None:
    await world.make("a")
    await world.has("a", "192.0.2.1")
    await world.told("a", "EnsuredLoadBalancer")
    await add_node(world.admin, ready_node("n2"))
    assert await world.told("a", "UpdatedLoadBalancer") == "Updated load balancer with new hosts"
    excluded = {"metadata": {"labels": {decide.EXCLUDED: ""}}}
    for name in ("n1", "n2"):
        await world.admin.patch(kinds.NODE, None, name, excluded)
    text = await world.told("a", "UnAvailableLoadBalancer")
    assert text == "There are no available nodes for LoadBalancer"
    page = world.registry.text()
    name = "service_controller_update_loadbalancer_host_latency_seconds_count"
    updates = int(re.findall(rf"{name} (\d+)", page)[0])
    assert updates >= 2  # changes that follow one another are one update
    assert f"service_controller_loadbalancer_sync_total {updates}" in page
    assert "service_controller_nodesync_latency_seconds_count" in page
    assert 'metallb_allocator_addresses_in_use_total{pool="default"} 1' in page
    assert 'metallb_allocator_addresses_total{pool="default"} 2' in page
    assert 'workqueue_adds_total{name="service"}' in page


async def test_a_new_process_keeps_the_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as world:
        first = await world.make("a")
        await world.has("a", "192.0.2.1")
        taken = await world.make("z", loadBalancerClass="example.com/x")
        shown = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}}
        await world.admin.patch(
            kinds.SERVICE, "default", taken.metadata.name, shown, subresource="status"
        )
        other = PoolBalancers(read_pools(POOL))
        second = ServiceController(world.admin, other)
        async with running(second.run()):
            await until(lambda: other._ledger.given(first.key) != (), "the second looked")
            await asyncio.sleep(0)
        await world.has("a", "192.0.2.1")
        await world.make("b")
        assert "no free IPv4 address" in await world.told("b", "SyncLoadBalancerFailed")


async def test_pools_change_live(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who loses its address gets another, with an Event, or shows none; the others stay."""
    path = tmp_path / "cloud.yaml"

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)

    write(POOL)
    async with serving(PoolFile(path)) as world:
        for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
            await world.make(name)
            await world.has(name, address)
        write(POOL.replace("192.0.2.1-192.0.2.2", "192.0.2.2-192.0.2.3"))
        await world.has("a", "192.0.2.3")
        assert await world.told("a", "LoadBalancerLost") == (
            "192.0.2.1 is in no pool for it since cloud.yaml changed; it gets another"
        )
        write(POOL + "---" + POOL.replace("default", "b"))  # is refused, and changes nothing
        text = await world.told("cloud-controller-manager", "InvalidCloudConfig", "kube-system")
        assert text.endswith("shorten one of them; the pools stay as they were")
        assert "cloud.yaml: pool b: range 192.0.2.1-192.0.2.2 overlaps range" in text
        assert any("the pools stay as they were" in text for text in caplog.messages)
        write(POOL.replace("192.0.2.1-192.0.2.2", "192.0.2.2/32"))
        await world.has("a")
        text = await world.told("a", "SyncLoadBalancerFailed")
        assert "no free IPv4 address in pool default (1 addresses)" in text
        write(POOL.replace("192.0.2.1-192.0.2.2", "192.0.2.2-192.0.2.9"))
        await world.has("a", "192.0.2.3")  # at once: no back-off of 5 s is waited for
        await world.has("b", "192.0.2.2")
        events = (await world.admin.list(kinds.EVENT, "default")).items
        lost = [e.involved_object.name for e in events if e.reason == "LoadBalancerLost"]
        assert set(lost) == {"a"}


def changed(spec: dict[str, Any], **meta: Any) -> Service:
    base = {"name": "s", "namespace": "default", "uid": "1"}
    return Service.parse({"metadata": base | meta, "spec": {"type": "LoadBalancer"} | spec})


@pytest.mark.parametrize(
    ("old", "new", "due"),
    [
        (None, changed({}), (True, None)),
        (None, changed({"type": "ClusterIP"}), (False, None)),
        (None, changed({"type": "ClusterIP"}, finalizers=[decide.FINALIZER]), (True, None)),
        (changed({}), changed({}), (False, None)),
        (changed({}), changed({}, labels={"a": "b"}), (False, None)),
        (changed({}), changed({}, annotations={"a": "b"}), (True, None)),
        (changed({}), changed({"ports": [{"port": 1}]}), (True, None)),
        (changed({}), changed({"type": "NodePort"}), (True, ("Type", "LoadBalancer -> NodePort"))),
        (
            changed({}),
            changed({"loadBalancerSourceRanges": ["192.0.2.0/24"]}),
            (True, ("LoadBalancerSourceRanges", "[] -> [192.0.2.0/24]")),
        ),
        (
            changed({"externalTrafficPolicy": "Cluster"}),
            changed({"externalTrafficPolicy": "Local"}),
            (True, ("ExternalTrafficPolicy", "Cluster -> Local")),
        ),
        (changed({}), changed({}, uid="2"), (True, ("UID", "1 -> 2"))),
        (
            changed({}, finalizers=[decide.FINALIZER]),
            changed({}, finalizers=[decide.FINALIZER], deletionTimestamp="2026-01-01T00:00:00Z"),
            (True, None),
        ),
    ],
)
def test_which_changes_count(old: Service | None, new: Service, due: Any) -> None:
    assert decide.counts(old, new) == due
