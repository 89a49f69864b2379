"""Matches of iptables that ask lists of addresses: what is explained is what the kernel does."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from debug.cluster import ClusterState, Names
from debug.explain.result import Branch, every_hop
from debug.explain.saved import SavedSpaces
from debug.explain.space import Spaces
from debug.explain.walk import Walk
from debug.places import Ground, Place, entered
from debug.ruleset.packet import TCP, State, make
from debug.ruleset.read.lists import ages_of
from debug.snapshot import take
from tests.support.space import Space

CLIENT, SERVER = "10.9.0.2", "10.9.0.1"
PORTS = (80, 81)
SETS = """create addresses hash:ip
add addresses 10.9.0.2
create networks hash:net
add networks 10.9.0.0/24
add networks 10.9.0.2 nomatch
create doors hash:ip,port
add doors 10.9.0.2,tcp:80
create ways hash:ip,port,net
add ways 10.9.0.2,tcp:81,10.9.0.0/24
create numbers bitmap:port range 0-1024
add numbers 80
create links hash:net,iface
add links 10.9.0.0/24,eth0
create six hash:ip family inet6
create both list:set
add both six
add both doors
create brief hash:ip timeout 600
add brief 10.9.0.2
"""
MATCHES = (
    "addresses src",
    "addresses dst",
    "networks src",
    "doors src,dst",
    "doors dst,dst",
    "ways src,dst,dst",
    "numbers dst",
    "numbers src",
    "links src,src",
    "both src,dst",
    "brief src",
)


class World:
    """A client and a server, whose rules drop."""

    def __init__(self, spaces: Callable[[str], Space]) -> None:
        self.server, self.client = spaces("server"), spaces("client")
        self.server.veth("eth0", self.client, "eth0")
        self.server.ip_batch(f"addr add {SERVER}/24 dev eth0")
        self.client.ip_batch(f"addr add {CLIENT}/24 dev eth0")
        self.server.run("ipset", "restore", stdin=SETS)
        self.places = tuple(
            Place(name, os.getpid(), str(one.path))
            for name, one in (("server", self.server), ("client", self.client))
        )
        with entered(self.places[0]):
            self.listening = [socket.create_server((SERVER, port)) for port in PORTS]

    @contextmanager
    def rules(self, tool: str, *rules: str) -> Iterator[None]:
        try:
            for rule in rules:
                self.server.run(tool, "-A", "INPUT", *rule.split())
            yield
        finally:
            self.server.run(tool, "-F", "INPUT")

    def arrives(self, port: int) -> bool:
        try:
            with entered(self.places[1]):
                socket.create_connection((SERVER, port), timeout=0.25).close()
        except TimeoutError:
            return False
        return True

    def explain(self, port: int, *, saved: bool = False) -> Branch:
        ground = Ground(self.places)
        made = SavedSpaces(take(ground, rules=True)) if saved else Spaces(self.places, new=True)
        with closing(made) as spaces:
            walk = Walk(spaces, Names(ClusterState()))
            place = next(one for one in spaces.places if one.node == "client")
            return walk.begin(spaces.of(place), State(make(CLIENT, SERVER, TCP, 40_000, port)))


@pytest.fixture(scope="module")
def world(spaces: Callable[[str], Space]) -> Iterator[World]:
    made = World(spaces)
    yield made
    for one in made.listening:
        one.close()


TOOLS = ("iptables-nft", "iptables-legacy")


@pytest.mark.parametrize("match", MATCHES)
def test_an_ipset_is_asked_as_the_kernel_asks_it(world: World, match: str) -> None:
    tool = TOOLS[MATCHES.index(match) % 2]
    for inverted in ("", "! "):
        with world.rules(tool, f"-m set {inverted}--match-set {match} -j DROP"):
            found = {port: world.explain(port).end == "delivered" for port in PORTS}
            assert found == {port: world.arrives(port) for port in PORTS}, inverted


def notes(way: Branch) -> str:
    return " ".join(note for hop in every_hop(way) for rule in hop.rules for note in rule.did)


def test_the_set_that_matched_is_named(world: World) -> None:
    with world.rules("iptables-nft", "-m set --match-set addresses src -j DROP"):
        way = world.explain(80)
        assert "in ipset addresses" in notes(way)
        saved = world.explain(80, saved=True)
        assert saved.end == "unknown" and "a snapshot has no elements" in saved.why


@pytest.mark.parametrize("tool", TOOLS)
def test_who_knocked_is_remembered_for_a_time(world: World, tool: str) -> None:
    """As kube-proxy's session affinity in mode iptables does; the rest of the time is told."""
    name = f"knock-{tool}"
    asking = f"-p tcp --dport 80 -m recent --name {name} --rcheck --seconds 60 --reap -j ACCEPT"
    noting = f"-p tcp --dport 81 -m recent --name {name} --set -j ACCEPT"
    with world.rules(tool, asking, noting, "-p tcp --dport 80 -j DROP"):
        assert world.explain(80).end == "dropped" and not world.arrives(80)
        assert world.arrives(81)
        for saved in (False, True):
            way = world.explain(80, saved=saved)
            assert way.end == "delivered"
            assert f"recent {name}" in notes(way)
            left = int(notes(way).partition("counts ")[2].split()[0])
            assert 40 < left <= 60
        assert world.arrives(80)


def test_hits_are_counted_as_the_kernel_counts_them(world: World) -> None:
    counting = "-p tcp --dport 80 -m recent --name hits --update --seconds 60 --hitcount 3 -j DROP"
    noting = "-p tcp --dport 80 -m recent --name hits --set -j ACCEPT"
    with world.rules("iptables-legacy", counting, noting):
        found = []
        for _ in range(4):
            found.append(world.explain(80).end == "delivered")
            assert found[-1] == world.arrives(80)
        assert found[0] and not found[-1]  # a connection has several packets


def test_what_a_packet_enters_itself_counts(world: World) -> None:
    """A rule that notes an address, and a later one that asks for it."""
    rules = (
        "-p tcp -m recent --name own --set",
        "-p tcp -m recent --name own ! --rcheck -j DROP",
        "-p tcp -m recent --name own --rcheck -j ACCEPT",
        "-p tcp -j DROP",
    )
    with world.rules("iptables-legacy", *rules):
        assert world.explain(80).end == "delivered" and world.arrives(80)


def test_stamps_are_jiffies_of_this_boot() -> None:
    begun = (1 << 32) - 300 * 250
    text = f"src=10.0.0.1 ttl: 64 last_seen: {begun} oldest_pkt: 2 {begun + 250}, {begun + 500}\n"
    assert dict(ages_of(text + "nonsense\n", 4.0, 250)) == {"10.0.0.1": (3.0, 2.0)}
