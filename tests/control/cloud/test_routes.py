"""The route controller does what upstream's does, with upstream's rights."""

import itertools
import logging
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.api.node import Node
from control.client import Client, ClientConfig, Informer
from control.client.kubeconfig import Credentials
from control.cloud.provider import CloudError, Route
from control.cloud.routes import decide
from control.cloud.routes.controller import COMPONENT, RouteController
from control.controllers.accounts import AccountClients
from control.metrics import Registry
from control.tokens import TokenSigner
from tests.support.control.cluster import running, until
from tests.support.control.guarded import guarded_server

CLUSTER = (ip_network("10.244.0.0/16"), ip_network("fd00:10:244::/56"))


class Table:
    """A cloud whose routes are a set; it refuses the ranges in ``full``."""

    def __init__(self) -> None:
        self.routes: set[Route] = set()
        self.full: set[str] = set()
        self.calls: list[tuple[str, Route]] = []

    async def list(self, cluster: str) -> Sequence[Route]:
        assert cluster == "x"
        return list(self.routes)

    async def create(self, cluster: str, hint: str, route: Route) -> None:
        self.calls.append(("create", route))
        if route.destination in self.full:
            raise CloudError("the table is full; remove a route")
        assert hint
        assert route not in self.routes
        self.routes.add(route)

    async def delete(self, cluster: str, route: Route) -> None:
        self.calls.append(("delete", route))
        self.routes.remove(route)


class World:
    def __init__(self, admin: Client, table: Table, registry: Registry) -> None:
        self.admin, self.table, self.registry = admin, table, registry

    async def add(self, name: str, *cidrs: str) -> None:
        wire = {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}}
        if cidrs:
            wire["spec"]["podCIDR"] = cidrs[0]
        await self.admin.create(kinds.NODE, Node.parse(wire))

    async def routes(self, *wanted: Route) -> None:
        await until(lambda: self.table.routes == set(wanted), f"routes {wanted}")

    async def says(self, name: str, *wanted: str) -> None:
        """Wait until a Node's condition has this status and reason."""

        async def so() -> bool:
            node = await self.admin.get(kinds.NODE, None, name)
            found = [it for it in node.status.conditions if it.type == decide.CONDITION]
            return [(it.status, it.reason) for it in found] == ([wanted] if wanted else [])

        await until(so, f"{name} says {wanted}")


@pytest.fixture
async def world(caplog: pytest.LogCaptureFixture) -> AsyncIterator[World]:
    caplog.set_level(logging.WARNING)
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("Node", "RBAC", tokens=signer) as server:

        def client(user: str) -> Client:
            return Client(ClientConfig(server.url, credentials=Credentials(token=user)))

        async with client("root") as admin, client("system:cloud-controller-manager") as mine:
            table, registry = Table(), Registry()
            table.routes = {Route("", "192.0.2.0/24")}  # another's
            async with AccountClients(mine, [COMPONENT]) as accounts:
                nodes, writer = Informer(mine, kinds.NODE), accounts.client(COMPONENT)
                route = RouteController(nodes, table, "x", CLUSTER, writer, registry, period=0.2)
                async with running(nodes.run(), route.run()):
                    yield World(admin, table, registry)
    assert [text for text in caplog.messages if "orbidden" in text or "failed" in text] == []


OTHER = Route("", "192.0.2.0/24")


async def test_each_range_of_a_node_gets_a_route_until_the_node_goes(world: World) -> None:
    await world.add("n1", "10.244.1.0/24", "fd00:10:244:1::/64")
    await world.add("n2")  # no range yet
    first = Route("n1", "10.244.1.0/24"), Route("n1", "fd00:10:244:1::/64")
    await world.routes(OTHER, *first)
    await world.says("n1", "False", "RouteCreated")
    await world.says("n2")
    change = {"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}}
    await world.admin.patch(kinds.NODE, None, "n2", change)
    await world.routes(OTHER, *first, Route("n2", "10.244.2.0/24"))
    await world.admin.delete(kinds.NODE, None, "n1")
    await world.routes(OTHER, Route("n2", "10.244.2.0/24"))
    assert "route_controller_route_sync_total" in world.registry.text()


async def test_a_refused_route_is_told_and_tried_again(world: World) -> None:
    world.table.full = {"10.244.1.0/24"}
    await world.add("n1", "10.244.1.0/24", "fd00:10:244:1::/64")
    await world.says("n1", "True", "NoRouteCreated")
    assert Route("n1", "fd00:10:244:1::/64") in world.table.routes
    found: list[str] = []

    async def written() -> bool:
        events = (await world.admin.list(kinds.EVENT, "default")).items
        mine = [it for it in events if it.reason == "FailedToCreateRoute" and it.source]
        found.extend(f"{it.source.component}: {it.message}" for it in mine if it.source)
        return bool(found)

    await until(written, "the Event")
    assert found[0].startswith("route_controller: Could not create route ")
    assert "10.244.1.0/24 for node n1 after" in found[0]
    assert found[0].endswith("the table is full; remove a route")
    world.table.full = set()
    await world.says("n1", "False", "RouteCreated")


async def test_what_somebody_removes_comes_back_and_a_stale_route_goes(world: World) -> None:
    """A range that another node has is freed before it is given."""
    world.table.routes |= {Route("old", "10.244.1.0/24"), Route("", "10.244.9.0/24")}
    await world.add("n1", "10.244.1.0/24")
    wanted = Route("n1", "10.244.1.0/24")
    await world.routes(OTHER, wanted)
    calls = [name for name, route in world.table.calls if route.destination == "10.244.1.0/24"]
    assert calls == ["delete", "create"]
    world.table.routes.discard(wanted)
    await world.routes(OTHER, wanted)


@st.composite
def _clusters(draw: st.DrawFn) -> tuple[list[Node], set[Route]]:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True))
    nodes: list[Any] = [
        {"metadata": {"name": name}, "spec": {"podCIDRs": [f"10.244.{number}.0/24"]}}
        for number, name in enumerate(names)
    ]
    some = st.builds(
        Route, st.sampled_from(["", *"abcdef"]), st.sampled_from(["10.244.1.0/24", "10.9.0.0/24"])
    )
    return [Node.parse(node) for node in nodes], draw(st.sets(some))


@given(_clusters())
def test_after_deletion_and_creation_nothing_is_left_to_do(
    cluster: tuple[list[Node], set[Route]],
) -> None:
    nodes, have = cluster
    want = set(decide.wanted(nodes))
    gone = set(decide.obsolete(have, want, CLUSTER))
    now = (have - gone) | want
    assert set(decide.obsolete(now, want, CLUSTER)) == set()
    assert {route for route in have if route.destination == "10.9.0.0/24"} <= now
    for one, other in itertools.combinations(now, 2):  # of the cluster, each range goes one way
        assert one.destination != other.destination or one.destination == "10.9.0.0/24"


def test_only_ranges_and_addresses_count() -> None:
    one = Node.parse({"metadata": {"name": "a"}, "spec": {"podCIDRs": ["10.244.1.0/24"]}})
    heartbeat = {"conditions": [{"type": "Ready", "status": "True"}]}
    two = Node.parse(one.wire() | {"status": heartbeat})
    assert not decide.counts(one, two)
    moved = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    assert decide.counts(one, Node.parse(one.wire() | {"status": moved}))
    assert decide.counts(None, one)
    assert decide.counts(one, None)
