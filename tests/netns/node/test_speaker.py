"""A kernel that asks for a load balancer's address hears the node that leads it, and no other."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from control.cloud.speaker.choose import leader
from control.cloud.speaker.duty import Duty, listens
from control.cloud.speaker.members import SILENT_TICKS
from control.cloud.speaker.sockets import Link, LinkError
from control.linux import syscalls
from tests.support.space import Space

pytestmark = pytest.mark.netns
ADDRESSES = ("192.0.2.200", "2001:db8::200")
NODES = ("node1", "node2")


class Speaking:
    """A node's link and duty; the test is its event loop."""

    def __init__(self, space: Space, name: str) -> None:
        with ThreadPoolExecutor(
            1
        ) as thread:  # setns is for the thread, a socket stays where it was
            self.link = thread.submit(self._open, space).result()
        self.duty = Duty(name, self.link.mac)
        self.mac = self.link.mac.hex(":")

    def _open(self, space: Space) -> Link:
        syscalls.enter(space.path, syscalls.CLONE_NEWNET)
        return Link("eth0")

    def decide(self, *addresses: str) -> None:
        before = listens(self.duty.addresses)
        may = {ip_address(each): frozenset(NODES) for each in addresses}
        self.send(self.duty.decide(may))
        for each in listens(self.duty.addresses) - before:
            self.link.hear(each)

    def send(self, frames: Iterator[bytes]) -> None:
        for frame in frames:
            assert self.link.send(frame)

    def read(self) -> None:
        for frame in list(self.link.read()):
            self.send(self.duty.take(frame))


class World:
    """A client and two nodes at one switch."""

    def __init__(self, spaces: Callable[[str], Space]) -> None:
        self.switch, self.client = spaces("switch"), spaces("client")
        self.switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.switch.ip("link", "set", "br0", "up")
        nodes = {name: spaces(name) for name in NODES}
        for number, (name, space) in enumerate({"client": self.client, **nodes}.items(), start=1):
            space.veth("eth0", self.switch, name)
            self.switch.ip("link", "set", name, "master", "br0")
            space.ip("addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
            space.ip("addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
        self.nodes = {name: Speaking(space, name) for name, space in nodes.items()}

    def ask(self, address: str) -> None:
        """Let the client's kernel ask who has an address."""
        self.client.run("bash", "-c", f"echo > /dev/udp/{address}/9", check=False)

    def known(self, address: str) -> str:
        """Return the MAC that the client's kernel knows for an address, or ""."""
        words = self.client.ip("neigh", "show", address).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the nodes read until a condition holds."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline
            for node in self.nodes.values():
                node.read()
            time.sleep(0.01)


@pytest.fixture
def world(spaces: Callable[[str], Space]) -> Iterator[World]:
    made = World(spaces)
    yield made
    for node in made.nodes.values():
        node.link.close()


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_leader_answers_and_another_takes_over(world: World, address: str) -> None:
    first = leader(ip_address(address), NODES)
    assert first is not None
    second = NODES[first == NODES[0]]
    world.ask(address)
    for node in world.nodes.values():
        node.read()
    assert world.known(address) == ""  # nobody announces it yet
    for node in world.nodes.values():
        node.decide(address)

    def answered() -> bool:
        world.ask(address)
        return world.known(address) == world.nodes[first].mac

    world.until(answered)
    survivor = world.nodes[second]
    world.nodes.pop(first).link.close()
    for _ in range(SILENT_TICKS):
        survivor.read()
        survivor.send(survivor.duty.tick())
    # The client's kernel takes the announcement: it does not ask.
    world.until(lambda: world.known(address) == survivor.mac)
    assert survivor.duty.dead == {first}


def test_a_link_without_an_interface_is_refused_by_name() -> None:
    with pytest.raises(LinkError, match="interface nothing0: no raw socket: "):
        Link("nothing0")
