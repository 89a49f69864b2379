"""Routers of two makes hear which nodes take an address's traffic, and spread over them."""

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from control.cloud.speaker.bgp import Bgp, Peer, Session
from control.linux import syscalls
from tests.support.routers import NODE_AS, ROUTER_AS, Bird, Frr, Neighbor, Router
from tests.support.space import Space

pytestmark = pytest.mark.netns
PASSWORDS = {Bird: b"of; both} ends", Frr: b"of;both}ends"}  # FRR's is one word
NODES = ("node1", "node2")
PREFIX = {4: "192.0.2.", 6: "2001:db8::"}
BALANCED = {4: "198.51.100.200", 6: "2001:db8:1::200"}


class Speaking:
    """A node's BGP, in a thread whose network is the node's."""

    def __init__(self, space: Space, name: str, number: int, password: bytes) -> None:
        self.name = name
        peers = tuple(Peer(ip_address(f"{prefix}1"), ROUTER_AS) for prefix in PREFIX.values())
        own = tuple(ip_address(f"{prefix}{number}") for prefix in PREFIX.values())
        self._session = Session(name, NODE_AS, peers, own, 90, 1000, password)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(space)))
        self._thread.start()
        self._ready.wait()

    async def _run(self, space: Space) -> None:
        syscalls.enter(space.path, syscalls.CLONE_NEWNET)
        self.bgp, self._loop = Bgp(self._session), asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._end = lambda: task.cancel()
        self._ready.set()
        try:
            await self.bgp.run()
        except asyncio.CancelledError:
            return

    def decide(self, *nodes: str) -> None:
        """Tell which nodes may take the addresses' traffic."""
        may = {ip_address(each): frozenset(nodes) for each in BALANCED.values()}
        self._loop.call_soon_threadsafe(self.bgp.decide, may)

    def exabgp(self) -> int:
        process = self.bgp._process
        return process.pid if process is not None else 0

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()


class World:
    """A router and two nodes."""

    def __init__(self, spaces: Callable[[str], Space], folder: Path, make: type[Router]) -> None:
        self.router = spaces("router")
        self.router.ip("link", "add", "lan", "type", "bridge", "mcast_snooping", "0")
        self._address(self.router, "lan", 1)
        for version in (4, 6):  # a connection's ports choose its path
            self.router.sysctl(f"net.ipv{version}.fib_multipath_hash_policy", 1)
        neighbors = []
        self.nodes = []
        for number, name in enumerate(NODES, start=2):
            space = spaces(name)
            space.veth("eth0", self.router, name)
            self.router.ip("link", "set", name, "master", "lan")
            self._address(space, "eth0", number)
            for version, prefix in PREFIX.items():
                neighbors.append(Neighbor(name, version, f"{prefix}{number}", f"{prefix}1"))
            self.nodes.append(Speaking(space, name, number, PASSWORDS[make]))
        self._folder = folder
        with (folder / "routes").open("w") as routes:
            argv = self.router.argv("ip", "monitor", "route")
            self._monitor = subprocess.Popen(argv, stdout=routes)
        self.bgp = make(self.router, neighbors, PASSWORDS[make].decode())
        self.bgp.start()

    def _address(self, space: Space, device: str, number: int) -> None:
        space.ip("link", "set", device, "up")
        space.ip("addr", "add", f"{PREFIX[4]}{number}/24", "dev", device)
        space.ip("addr", "add", f"{PREFIX[6]}{number}/64", "dev", device, "nodad")

    def next_hops(self, version: int) -> set[str]:
        """Return the nodes to which the router's kernel sends connections to the address."""
        shown = self.router.ip(f"-{version}", "route", "show", BALANCED[version])
        hops = set(re.findall(r"via (\S+)", shown))
        return {name for n, name in enumerate(NODES, start=2) if f"{PREFIX[version]}{n}" in hops}

    def sessions(self) -> int:
        """Return how many sessions the router has."""
        return self.bgp.sessions()

    def lost(self) -> int:
        """Return how often the router's kernel has lost a route to the addresses."""
        text = (self._folder / "routes").read_text()
        return sum(text.count(f"Deleted {address} ") for address in BALANCED.values())

    def until(self, *nodes: str) -> None:
        """Wait until the router sends both families to exactly these nodes."""
        self.until_true(lambda: all(self.next_hops(version) == {*nodes} for version in (4, 6)))

    def until_true(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 100
        while not holds():
            assert self.bgp.is_running()
            assert time.monotonic() < deadline, self.router.ip("route")
            time.sleep(0.05)

    def restart_router(self) -> None:
        self.bgp.stop()
        assert self.next_hops(4) == set()
        self.bgp.start()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        self.bgp.remove()
        self._monitor.terminate()
        self._monitor.wait()


@pytest.fixture(params=[Bird, Frr])
def world(
    request: pytest.FixtureRequest, spaces: Callable[[str], Space], tmp_path: Path
) -> Iterator[World]:
    made = World(spaces, tmp_path, request.param)
    yield made
    made.stop()


def test_a_router_spreads_over_the_nodes_that_announce(world: World) -> None:
    for node in world.nodes:
        node.decide(*NODES)
    world.until(*NODES)
    for node in world.nodes:
        world.until_true(lambda n=node: all(is_up for _, is_up in n.bgp.sessions()))
    get = ("route", "get", BALANCED[4], "ipproto", "tcp", "dport", "80", "sport")
    chosen = {world.router.ip(*get, str(port)).split()[2] for port in range(20000, 20064)}
    assert chosen == {"192.0.2.2", "192.0.2.3"}
    for node in world.nodes:  # policy Local: the last endpoint of node1 is gone
        node.decide("node2")
    world.until("node2")
    old, lost = world.nodes[1].exabgp(), world.lost()
    os.kill(old, signal.SIGKILL)
    world.until_true(lambda: world.nodes[1].exabgp() not in (0, old))
    world.until_true(lambda: world.sessions() == 4)  # the new one's, or one is not missed yet
    world.until("node2")
    assert world.lost() == lost  # a graceful restart: the router has kept the routes
    for nodes in ((), ("node2",)):
        world.nodes[1].decide(*nodes)
        world.until(*nodes)
    if isinstance(world.bgp, Frr):
        return  # the rest takes as long as exabgp waits before it calls again
    world.restart_router()
    world.until("node2")
    world.until_true(lambda: all(is_up for _, is_up in world.nodes[1].bgp.sessions()))
    world.nodes[1].decide()
    world.until()
