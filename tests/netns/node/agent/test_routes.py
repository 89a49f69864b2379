# ruff: noqa: ASYNC220  tests start processes
"""The routes to other nodes, while the agent restarts."""

import subprocess
from collections.abc import Iterator

import pytest

from control.api import kinds
from control.api.node import Node as ApiNode
from control.client import Client
from tests.support.control.agent_process import Node
from tests.support.control.cluster import until


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def flags() -> Iterator[tuple[str, ...]]:
    """A link on which the other nodes are."""
    ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
    ip("link", "set", "up1", "up")
    ip("address", "add", "192.0.2.1/24", "dev", "up0")
    ip("link", "set", "up0", "up")
    yield ("--node-ip=192.0.2.1", "--overlay=routes")
    ip("link", "del", "up0")


async def add(client: Client, number: int) -> None:
    """Add a Node to which a route leads, and wait for that."""
    spec = {"podCIDRs": [f"10.244.{number}.0/24"], "podCIDR": f"10.244.{number}.0/24"}
    wire = {"metadata": {"name": f"n{number}"}, "spec": spec}
    made = await client.create(kinds.NODE, ApiNode.parse(wire))
    addresses = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
    status = ApiNode.parse({"status": {"addresses": addresses}}).status
    await client.update_status(kinds.NODE, made.model_copy(update={"status": status}))

    async def routed() -> bool:
        return f"10.244.{number}.0/24 via" in ip("route", "show", "proto", "87")

    await until(routed)


async def test_a_restart_takes_no_route_away(node: Node) -> None:
    """Not for a moment: the kernel ends masqueraded connections that then leave another way."""
    await add(node.client, 2)
    seen = node.root / "routes"

    async def listens() -> bool:
        ip("route", "replace", "blackhole", "198.51.100.1")
        ip("route", "del", "blackhole", "198.51.100.1")
        return "198.51.100.1" in seen.read_text()

    async def knows_all() -> bool:
        return "10.244.3.0/24" in seen.read_text()

    with (
        seen.open("w") as out,
        subprocess.Popen(["ip", "-o", "monitor", "route"], stdout=out) as monitor,
    ):
        try:
            await until(listens)
            node.kill()
            node.start()
            await add(node.client, 3)
            await until(knows_all)
        finally:
            monitor.kill()
    assert "Deleted 10.244.2" not in seen.read_text()
