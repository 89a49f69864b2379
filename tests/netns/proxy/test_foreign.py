"""iptables-nft beside rules of other programs that iptables cannot print."""

from collections.abc import Callable, Iterator

import pytest

from proxy.backends.base import open_backend
from tests.support.cni.worker import Worker
from tests.support.proxy.rulesets import many_services
from tests.support.proxy.strategies import NODE, SETTINGS
from tests.support.space import Space


def start(count: int, flavor: str) -> None:
    """In the node: start a backend, as after a restart."""
    open_backend("iptables", SETTINGS, {"flavor": flavor}).apply(
        many_services(count).desired(), NODE
    )


def remove() -> None:
    """In the node: remove every rule of ours."""
    open_backend("iptables", SETTINGS, {}).remove()


@pytest.fixture
def node(spaces: Callable[[str], Space]) -> Iterator[tuple[Space, Worker]]:
    space = spaces("foreign")
    worker = Worker(space)
    yield space, worker
    worker.stop()


# iptables-nft-save ends in the middle of a table with the first; a table with the other it omits.
NATIVE = {
    "meta mark set 7": "mark set 0x00000007",
    "ct state established": "ct state established",
}


def add_native_rule(space: Space, table: str, rule: str) -> None:
    """Add a rule of another program to one of iptables' tables."""
    space.run("nft", "add", "table", "ip", table)
    space.run("nft", "add", "chain", "ip", table, "FOREIGN")
    space.run("nft", "add", "rule", "ip", table, "FOREIGN", rule)


@pytest.mark.parametrize("rule", NATIVE)
@pytest.mark.parametrize("table", ["filter", "nat", "mangle"])
def test_a_native_rule_stops_nothing(node, table: str, rule: str) -> None:
    space, worker = node
    worker.call(start, 3, "nft")
    add_native_rule(space, table, rule)
    worker.call(start, 5, "auto")
    worker.call(start, 4, "nft")
    rules = space.run("nft", "list", "ruleset")
    services = space.run("nft", "list", "chain", "ip", "nat", "KUBE-SERVICES")
    assert services.count("ip daddr 10.96.0.3 ") == 1
    assert "ip daddr 10.96.0.4 " not in services
    jumps = space.run("nft", "list", "chain", "ip", "filter", "FORWARD")
    assert jumps.count("jump KUBE-FORWARD") == 1
    assert NATIVE[rule] in rules


@pytest.mark.parametrize("rule", NATIVE)
@pytest.mark.parametrize("table", ["filter", "nat"])
def test_removal_leaves_nothing_that_acts(node, table: str, rule: str) -> None:
    space, worker = node
    worker.call(start, 3, "nft")
    add_native_rule(space, table, rule)
    worker.call(remove)
    worker.call(remove)
    rules = space.run("nft", "list", "ruleset")
    assert "jump KUBE-" not in rules
    assert "dnat" not in rules
    assert NATIVE[rule] in rules
