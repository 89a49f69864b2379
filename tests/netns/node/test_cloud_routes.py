"""The lab's routes, with real packets: from a machine without an agent to Pods behind nodes."""

import asyncio
import json

import pytest

from control.cloud.lab.instances import LabInstances
from control.cloud.lab.routes import LabRoutes
from control.cloud.lab.rows import MACHINES, describe
from control.cloud.provider import CloudError, Route
from tests.support.control.machines import NODES, Machine, inside

pytestmark = pytest.mark.netns
RANGES = [(f"n{n}", cidr) for n in (1, 2) for cidr in (f"10.244.{n}.0/24", f"fd00:244:{n}::/64")]
WANTED = [Route(*each) for each in RANGES]


@pytest.fixture(scope="module")
def network(spaces):
    """A switch, two nodes with a Pod each, and the control machine."""
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    switch.ip("addr", "add", "172.31.0.254/24", "dev", "br0")
    control = spaces("control")
    control.veth("eth0", switch, "p10")
    switch.ip("link", "set", "p10", "master", "br0")
    control.ip("addr", "add", "172.31.0.10/24", "dev", "eth0")
    control.ip("addr", "add", "fd00:31::10/64", "dev", "eth0", "nodad")
    control.ip("route", "add", "default", "via", "172.31.0.254")
    return [Machine(spaces, switch, number) for number in (1, 2)], control


@pytest.fixture
def machines(tmp_path):
    rows = [describe("x", f"n{n}", (f"172.31.0.{n}", f"fd00:31::{n}"), "") for n in (1, 2)]
    (tmp_path / MACHINES).write_text(json.dumps([*rows, describe("x", "n4", ("172.31.0.4",), "")]))
    return LabRoutes(LabInstances(tmp_path))


def act(space, work):
    """Run a coroutine in a namespace; return its result."""
    found = []
    inside(space.path, lambda: found.append(asyncio.run(work())))
    return found[0]


@pytest.mark.parametrize("overlay", ["routes", "vxlan"])
def test_pods_are_reached_in_each_overlay(network, machines, overlay):
    nodes, control = network
    for node in nodes:
        node.apply(overlay, NODES[:2])

    async def lay():
        have = await machines.list("x")
        for route in WANTED:
            if route not in have:
                await machines.create("x", "", route)
        return await machines.list("x")

    assert sorted(act(control, lay)) == sorted(WANTED)
    for number in (1, 2):
        for pod in (f"10.244.{number}.2", f"fd00:244:{number}::2"):
            control.run("ping", "-c1", "-W5", pod)  # raises if nobody answers


def test_deleted_routes_are_gone_and_others_stay(network, machines):
    _, control = network
    control.ip("route", "add", "198.51.100.0/24", "via", "172.31.0.1")

    async def remove():
        for route in [*await machines.list("x"), WANTED[0], WANTED[0]]:
            await machines.delete("x", route)
        return await machines.list("x")

    assert act(control, remove) == []
    assert "198.51.100.0/24" in control.ip("route")
    assert "10.244." not in control.ip("route")


@pytest.mark.parametrize(
    ("route", "why"),
    [
        (Route("n3", "10.244.3.0/24"), "no machine for Node n3"),
        (Route("n4", "fd00:244:4::/64"), "machine n4 has no IPv6 address for Pod range"),
        (Route("n1", "198.51.100.0/24"), "another program made it: remove it"),
        (Route("n1", "198.51.100.7/24"), "Pod range of Node n1: .* has host bits set"),
    ],
)
def test_what_cannot_be_says_why(network, machines, route, why):
    _, control = network
    control.ip("route", "replace", "198.51.100.0/24", "via", "172.31.0.1")

    async def create():
        with pytest.raises(CloudError, match=why):
            await machines.create("x", "", route)

    act(control, create)


def test_a_gateway_that_is_no_machine_has_no_node(network, machines):
    _, control = network
    control.ip("route", "add", "10.244.7.0/24", "via", "172.31.0.7", "proto", "88")

    async def listed():
        found = await machines.list("x")
        for route in found:
            await machines.delete("x", route)
        return found

    assert act(control, listed) == [Route("", "10.244.7.0/24")]
