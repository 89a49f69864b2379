"""A change of a live node's backend interrupts nothing, and removes all of the old one."""

import signal
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from proxy.backends.ebpf.mounts import LINKS
from tests.support.groups import group
from tests.support.proxy.prober import UDP, ask_from_one_port, bustle, faults
from tests.support.proxy.process import PATIENCE, VIP, VIP6, RunningProxy, service, slices

# Every change from one to another.
WALK = (
    "iptables-nft",
    "iptables-legacy",
    "iptables-nft",
    "nftables",
    "iptables-legacy",
    "nftables",
    "ebpf",
    "iptables-legacy",
    "ebpf",
    "nftables",
    "iptables-nft",
    "ebpf",
    "iptables-nft",
)


@pytest.fixture(scope="module")
def world(spaces, tmp_path_factory) -> Iterator[RunningProxy]:
    with group("change") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("proxy"), WALK[0], root)
        yield made
        made.close()


def in_force(world: RunningProxy) -> set[str]:
    """Return the backends that have rules on the node."""
    node = world.lab.spaces["node"]
    listing = node.run("nft", "list", "ruleset")
    packets = "ebpf" if LINKS.exists() else "nftables"  # ebpf stands on nftables
    found = {packets} if "table ip podwire-proxy" in listing else set()
    if "chain KUBE-" in listing:
        found.add("iptables-nft")
    if "KUBE-" in node.run("iptables-legacy-save") + node.run("ip6tables-legacy-save"):
        found.add("iptables-legacy")
    return found


def test_the_walk_makes_every_change_of_backend() -> None:
    assert len(set(WALK)) == 4
    assert len(set(pairwise(WALK))) == 12


def test_changes_interrupt_nothing(world: RunningProxy) -> None:
    world.put(service(), *slices("a", "b", "c"))
    world.run()
    for address in (VIP, VIP6):
        world.until({"A", "B", "C"}, address=address)
    clients = [world.lab.client(source) for source in ("pod", "node", "outside")]
    for client in clients:
        client.call(bustle, VIP, VIP6)
    flow = clients[0].call(ask_from_one_port, VIP, 53, 60.0)
    for number, backend in enumerate(WALK[1:]):
        world.end(signal.SIGKILL if number % 2 else signal.SIGTERM)
        world.mode, _, world.flavor = backend.partition("-")
        world.run()
        deadline = time.monotonic() + PATIENCE
        while (found := in_force(world)) != {backend}:
            assert time.monotonic() < deadline, f"{found} are in force, not {backend} alone"
        world.until({"A", "B", "C"})
        world.until({"A", "B", "C"}, address=VIP6, port=53, protocol=UDP)
        assert clients[0].call(ask_from_one_port, VIP, 53, 60.0) == flow
    assert [client.call(faults) for client in clients] == [[], [], []]
