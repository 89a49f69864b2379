"""What another program takes from the node network is put back at once; nothing else wakes it."""

import asyncio
import copy
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from control.api.node import Node
from control.node_network import drift
from control.node_network.kernel import NodeNetworkKernel
from control.node_network.plan import peer, plan
from control.node_network.sync import NodeNetwork, NodeNetworkSettings
from tests.support.control.machines import NODES, Machine, inside

_FORGET = """
bridge fdb show dev podwire-vxlan | grep dst | while read -r entry; do
  bridge fdb del $entry dev podwire-vxlan || exit
done
"""
_BREAKS = {
    "ruleset": ["nft", "flush", "ruleset"],
    "rule": ["nft", "flush", "chain", "inet", "podwire_node", "postrouting"],
    "routes": ["ip", "route", "flush", "proto", "87"],
    "replaced route": ["ip", "route", "replace", "blackhole", "10.244.2.0/24"],
    "forwarding": ["sysctl", "-qw", "net.ipv4.ip_forward=0"],
    "device": ["ip", "link", "del", "podwire-vxlan"],
    "device down": ["ip", "link", "set", "podwire-vxlan", "down"],
    "neighbors": ["ip", "neigh", "flush", "dev", "podwire-vxlan", "nud", "permanent"],
    "addresses": ["ip", "address", "flush", "dev", "podwire-vxlan"],
    "fdb": ["sh", "-c", _FORGET],
}
_NOT_IN = {"routes": {"device", "device down", "neighbors", "addresses", "fdb"}, "vxlan": set()}


@pytest.fixture(scope="module")
def machine(spaces) -> Machine:
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    return Machine(spaces, switch, 1)


async def _until(machine: Machine, before: set[str]) -> None:
    """Wait until the state is as before; the look that comes once a minute would be too late."""
    for _ in range(200):
        if await asyncio.to_thread(_state, machine) == before:
            return
        await asyncio.sleep(0.05)
    assert _state(machine) ^ before == set()


_STATE = """
ip route show proto 87; ip -6 route show proto 87
nft list table inet podwire_node
sysctl net.ipv4.ip_forward
if ip -o link show dev podwire-vxlan; then
  ip -o address show dev podwire-vxlan
  ip neigh show dev podwire-vxlan nud permanent
  bridge fdb show dev podwire-vxlan | sort
fi
"""


def _state(machine: Machine) -> set[str]:
    """All that the node network has set up. What is put back may have another index, and come in
    another order; an IPv6 address is tentative for a second.
    """
    lines = machine.space.run("sh", "-c", _STATE, check=False).splitlines()
    return {re.sub("^[0-9]+: | tentative", "", line) for line in lines}


class Counted(NodeNetwork):
    """A node network that counts its looks at the kernel, as they begin and as they end."""

    looks = ended = 0

    def _sync(self, nodes: tuple[Node, ...]) -> tuple[str, bool]:
        self.looks += 1
        try:
            return super()._sync(nodes)
        finally:
            self.ended += 1

    async def settled(self) -> int:
        """Return how many looks there were, once the last of our own changes was heard.

        A look may put back what a test waits for long before it ends.
        """
        before = None
        while before != (now := (self.looks, self.ended)) or self.looks != self.ended:
            before = now
            await asyncio.sleep(drift._SETTLE_SECONDS * 4)
        return self.looks


@pytest.mark.parametrize("overlay", ["routes", "vxlan"])
def test_drift_is_put_back(machine: Machine, tmp_path: Path, overlay) -> None:
    nodes = [Node.parse(item) for item in NODES]
    settings = NodeNetworkSettings("n1", overlay, (), tmp_path / "10.conflist")

    async def scenario() -> None:
        network = Counted(settings, lambda: nodes, lambda: None)
        task = asyncio.create_task(network.run())
        while not settings.conflist.exists():  # noqa: ASYNC110  # written after the kernel
            await asyncio.sleep(0.05)
        before = await asyncio.to_thread(_state, machine)
        for name, argv in _BREAKS.items():
            if name in _NOT_IN[overlay]:
                continue
            await asyncio.to_thread(machine.space.run, *argv)
            await _until(machine, before)
        seen = await network.settled()
        for command in (["link", "add", "d0", "type", "bridge"], ["link", "del", "d0"]):
            await asyncio.to_thread(machine.space.ip, *command)
        await asyncio.sleep(drift._SETTLE_SECONDS * 4)
        assert network.looks == seen, "what is not ours woke it, or its own changes did for ever"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    inside(machine.space.path, lambda: asyncio.run(scenario()))
    machine.apply(overlay, [], "nobody")


_HASTY = """#!/bin/sh
{nft} "$@" || exit
[ "$1" != -f ] || ! rm {once} 2>/dev/null || {nft} flush chain inet podwire_node postrouting
"""


def test_a_rule_that_is_taken_at_once_is_put_back(machine: Machine, tmp_path: Path, monkeypatch):
    """Another program is faster than our own look at what we have just written."""
    machine.apply("routes", NODES)
    before = _state(machine)
    once, hasty = tmp_path / "once", tmp_path / "nft"
    hasty.write_text(_HASTY.format(nft=shutil.which("nft"), once=once))
    hasty.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kernel, peers = NodeNetworkKernel(), [peer(Node.parse(item)) for item in NODES]

    def apply() -> None:
        kernel.apply(plan(peers[0], peers, "routes", kernel.uplink(peers[0].addresses)))

    inside(machine.space.path, apply)
    machine.space.run(*_BREAKS["ruleset"])
    once.touch()
    inside(machine.space.path, apply)
    assert not once.exists() and _state(machine) != before
    inside(machine.space.path, apply)
    assert _state(machine) == before
    machine.apply("routes", [], "nobody")


def _ipv4(item: dict[str, Any]) -> Node:
    """Return a Node of IPv4 alone: the kernel tells no route of it that goes with a link."""
    item = copy.deepcopy(item)
    del item["status"]["addresses"][1], item["spec"]["podCIDRs"][1:]
    return Node.parse(item)


def test_a_link_that_was_down_has_its_routes_again(machine: Machine, tmp_path: Path) -> None:
    nodes = [_ipv4(item) for item in NODES]
    settings = NodeNetworkSettings("n1", "routes", (), tmp_path / "10.conflist")

    async def scenario() -> None:
        task = asyncio.create_task(NodeNetwork(settings, lambda: nodes, lambda: None).run())
        while not settings.conflist.exists():  # noqa: ASYNC110  # written after the kernel
            await asyncio.sleep(0.05)
        before = await asyncio.to_thread(_state, machine)
        assert any(line.startswith("10.244.2.0/24 via 172.31.0.2") for line in before)
        await asyncio.sleep(drift._SETTLE_SECONDS * 4)  # its own changes were heard
        for state in ("down", "up"):
            await asyncio.to_thread(machine.space.ip, "link", "set", "eth0", state)
        await _until(machine, before)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    inside(machine.space.path, lambda: asyncio.run(scenario()))
    machine.space.ip("addr", "replace", "fd00:31::1/64", "dev", "eth0", "nodad")
    machine.apply("routes", [], "nobody")
