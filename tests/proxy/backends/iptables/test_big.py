"""One Service with very many endpoints: others do not wait for it, and all end as they should."""

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from proxy.backends.iptables.backend import IptablesFamily
from proxy.backends.iptables.big import BIG, SLICE
from proxy.backends.iptables.names import Table
from proxy.backends.iptables.tool import Flavor
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.proxy.fake_iptables import FakeIptables
from tests.support.proxy.rulesets import many_services
from tests.support.proxy.strategies import NODE, SETTINGS

KEY = ("ns", "a-big-one")  # the first by name
ADDRESS = "10.97.0.1"


class Tool(FakeIptables):
    """iptables-nft, which remembers the size of transactions and what was served after each."""

    family, flavor = Family.V4, Flavor.NFT

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.served: list[set[str]] = []
        self.broken = False
        self.refused = ""

    def restore(self, transaction: bytes) -> None:
        if self.broken:
            raise KernelRefusedError("broken")
        lines = transaction.decode().splitlines()
        if blamed := next((line for line in lines if self.refused and self.refused in line), ""):
            raise KernelRefusedError("no such match", blamed)
        super().restore(transaction)
        self.sizes.append(
            sum(line[:2] in ("-A", "-X") for line in transaction.decode().split("\n"))
        )
        self.served.append(self.served_now())

    def served_now(self) -> set[str]:
        rules = self.tables["nat"].get("KUBE-SERVICES", [])
        return {rule.split()[1] for rule in rules if rule.startswith("-d ")}


def grow(tracker: Tracker, endpoints: int, first: int = 0) -> Tracker:
    """Give the big Service so many endpoints at each of two ports."""
    ports = tuple(Port(name, Protocol.TCP, number) for name, number in (("x", 80), ("y", 81)))
    tracker.set_service(KEY, Service(KEY, ports, (ip_address(ADDRESS),)))
    start = ip_address("10.200.0.0") + first
    ends = tuple(Endpoint(Target.of(start + one, 8080)) for one in range(endpoints))
    tracker.set_slice(KEY, Slice(KEY, {(port.name, Protocol.TCP): ends for port in ports}))
    return tracker


def change_another(tracker: Tracker, number: int) -> str:
    """Give another Service another address, which is returned."""
    key = ("ns", f"svc-{number}")
    address = ip_address("10.98.0.0") + number
    tracker.set_service(key, replace(tracker._services[key], cluster_ips=(address,)))
    return str(address)


def fresh(tracker: Tracker) -> dict:
    """Return the tables after a start with this state."""
    tool = Tool()
    start(tool, tracker)
    return tool.tables


def start(tool: Tool, tracker: Tracker) -> None:
    """Start, and go on until all is written."""
    finish_all(IptablesFamily(tool, SETTINGS), tracker)


def finish_all(family: IptablesFamily, tracker: Tracker) -> None:
    """Apply, and go on until all is written."""
    family.apply(tracker.desired(), NODE)
    finish(family, tracker)


def finish(family: IptablesFamily, tracker: Tracker) -> None:
    for _ in range(1000):
        if not family.is_unfinished:
            return
        family.apply(tracker.desired(), NODE)
    raise AssertionError("it never ends")


@pytest.fixture
def serving() -> tuple[Tool, IptablesFamily, Tracker]:
    tool, tracker = Tool(), many_services(3)
    family = IptablesFamily(tool, SETTINGS)
    family.apply(tracker.desired(), NODE)
    assert not family.is_unfinished
    tool.sizes.clear()
    return tool, family, tracker


def test_others_change_while_a_big_service_comes(serving) -> None:
    tool, family, tracker = serving
    grow(tracker, 1100)
    family.apply(tracker.desired(), NODE)
    assert family.is_unfinished
    for number in range(3):
        address = change_another(tracker, number)
        family.apply(tracker.desired(), NODE)
        assert address in tool.served_now()
        assert ADDRESS not in tool.served_now()
    finish(family, tracker)
    assert ADDRESS in tool.served_now()
    assert tool.tables == fresh(tracker)
    assert max(tool.sizes) < SLICE + 1200  # one chain is never split


def test_a_big_service_that_changes_and_goes_leaves_nothing(serving) -> None:
    tool, family, tracker = serving
    for size, first, rounds in ((1100, 0, 2), (1001, 700, 2), (1100, 100, 50), (600, 3000, 3)):
        grow(tracker, size, first)
        for _ in range(rounds):
            family.apply(tracker.desired(), NODE)
    finish(family, tracker)
    assert tool.tables == fresh(tracker)
    tracker.set_service(KEY, None)
    family.apply(tracker.desired(), NODE)
    assert ADDRESS not in tool.served_now()
    finish(family, tracker)
    assert tool.tables == fresh(tracker)


def test_it_becomes_small_in_the_middle(serving) -> None:
    tool, family, tracker = serving
    family.apply(grow(tracker, 1100).desired(), NODE)
    family.apply(grow(tracker, 5).desired(), NODE)
    assert ADDRESS in tool.served_now()
    finish(family, tracker)
    assert tool.tables == fresh(tracker)


def test_a_failure_in_the_middle_is_made_good(serving) -> None:
    tool, family, tracker = serving
    family.apply(grow(tracker, 1100).desired(), NODE)
    tool.broken = True
    with pytest.raises(KernelRefusedError):
        family.apply(tracker.desired(), NODE)
    tool.broken = False
    family.apply(tracker.desired(), NODE)
    finish(family, tracker)
    assert tool.tables == fresh(tracker)


def test_a_start_serves_others_first_and_their_changes_go_in_between() -> None:
    tracker, tool = grow(many_services(3), BIG), Tool()
    family = IptablesFamily(tool, SETTINGS)
    family.apply(tracker.desired(), NODE)
    assert len(tool.served_now()) == 3
    assert ADDRESS not in tool.served_now()
    address = change_another(tracker, 0)
    family.apply(tracker.desired(), NODE)
    assert address in tool.served_now()
    assert family.held == {KEY}
    finish(family, tracker)
    assert ADDRESS in tool.served_now()
    assert not family.held
    assert tool.tables == fresh(tracker)


def test_a_start_never_interrupts_a_big_service_that_is_there() -> None:
    tracker, tool = grow(many_services(3), BIG), Tool()
    start(tool, tracker)
    tool.served.clear()
    finish_all(IptablesFamily(tool, SETTINGS), grow(tracker, BIG, 100))
    assert all(len(served) == 4 for served in tool.served)
    assert tool.tables == fresh(tracker)


@pytest.mark.parametrize("later", ["as it was", "changed", "small", "gone", "disturbed"])
def test_changes_of_others_come_before_a_big_service_that_a_restart_writes(later: str) -> None:
    tracker, tool = grow(many_services(3), BIG), Tool()
    start(tool, tracker)
    tool.sizes.clear()
    family = IptablesFamily(tool, SETTINGS)
    family.apply(grow(tracker, BIG, 100).desired(), NODE)
    assert sum(tool.sizes) < 200  # rules; the big one has thousands
    assert family.held == {KEY}
    address = change_another(tracker, 0)
    family.apply(tracker.desired(), NODE)
    assert tool.served_now() >= {address, ADDRESS}
    change_in_between(family, tracker, later)
    finish_all(family, tracker)
    assert tool.tables == fresh(tracker)
    assert family._ruleset.counts()[Table.NAT] == rules_in(tool, "nat")


def change_in_between(family: IptablesFamily, tracker: Tracker, later: str) -> None:
    """Change the big Service while it is written."""
    if later == "disturbed":
        family.forget()
    elif later == "gone":
        tracker.set_service(KEY, None)
    elif later != "as it was":
        grow(tracker, 1050 if later == "changed" else 5, 700)


def rules_in(tool: Tool, table: str) -> int:
    """Return how many rules our chains have."""
    chains = tool.tables[table].items()
    return sum(len(rules) for name, rules in chains if name.startswith("KUBE-"))


def test_chains_are_put_back_that_nobody_wants_changed_after_all(serving) -> None:
    tool, family, tracker = serving
    grow(tracker, 1100)
    finish_all(family, tracker)
    service = tracker._services[KEY]
    tracker.set_service(KEY, replace(service, affinity=60))  # every endpoint's chain changes
    for _ in range(3):
        family.apply(tracker.desired(), NODE)
    tracker.set_service(KEY, service)
    grow(tracker, 5)
    finish_all(family, tracker)
    assert tool.tables == fresh(tracker)


def test_a_big_service_that_the_kernel_refuses_is_left_out(serving) -> None:
    tool, family, tracker = serving
    grow(tracker, 1100)
    tracker.set_service(KEY, replace(tracker._services[KEY], affinity=60))
    tool.refused = "-m recent"
    with pytest.raises(KernelRefusedError):
        for _ in range(3):
            family.apply(tracker.desired(), NODE)
    family.apply(tracker.desired(), NODE)
    assert len(tool.served_now()) == 3
    assert not family.is_unfinished
