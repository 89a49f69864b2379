"""The kernel refuses rules without saying which: the Services they belong to are left out."""

import logging

import pytest
from msgspec.structs import replace

from proxy.backends.iptables import names
from proxy.backends.iptables.backend import IptablesFamily
from proxy.backends.iptables.refused import find_refused
from proxy.backends.iptables.ruleset import IptablesRuleset
from proxy.backends.iptables.tool import Flavor
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family, Port, Protocol
from tests.support.proxy.fake_iptables import FakeIptables
from tests.support.proxy.rulesets import four_endpoints, many_services
from tests.support.proxy.strategies import NODE, SETTINGS


class OldKernel:
    """iptables-legacy with a kernel that lacks a module: COMMIT is the line that failed."""

    family = Family.V4
    flavor = Flavor.NFT  # so that nobody asks for the size of tables that are not there

    def __init__(self, lacks: str) -> None:
        self.kernel = FakeIptables()
        self._lacks = lacks
        self.tries = 0

    def restore(self, transaction: bytes) -> None:
        self.tries += 1
        if self._lacks in transaction.decode():
            raise KernelRefusedError("iptables-legacy-restore: line 9 failed", "COMMIT")
        self.kernel.restore(transaction)

    def save(self) -> str:
        return self.kernel.save()


def with_affinity(tracker: Tracker, *numbers: int) -> Tracker:
    """Let some of ``many_services`` keep their clients, by the match ``recent``."""
    for number in numbers:
        key = ("ns", f"svc-{number}")
        tracker.set_service(key, replace(tracker._services[key], affinity=60))
    return tracker


def endpoints_in(kernel: FakeIptables) -> int:
    return sum(chain.startswith("KUBE-SEP-") for chain in kernel.tables["nat"])


def test_only_the_services_that_need_the_module_are_left_out(caplog) -> None:
    tool = OldKernel("-m recent")
    family = IptablesFamily(tool, SETTINGS)
    with caplog.at_level(logging.ERROR):
        family.apply(with_affinity(many_services(20), 3, 11).desired(), NODE)
    served = {line.getMessage().split()[1] for line in caplog.records}
    assert served == {"ns/svc-3", "ns/svc-11"}
    assert endpoints_in(tool.kernel) == 18 * 4
    assert not {chain for chain in names.TRIALS if chain.name in tool.kernel.tables[chain.table]}


def test_a_service_that_comes_later_is_left_out_and_the_others_are_served() -> None:
    tool, tracker = OldKernel("-m recent"), many_services(4)
    family = IptablesFamily(tool, SETTINGS)
    family.apply(tracker.desired(), NODE)
    with_affinity(tracker, 2)
    with pytest.raises(KernelRefusedError):
        family.apply(tracker.desired(), NODE)
    family.apply(tracker.desired(), NODE)
    assert endpoints_in(tool.kernel) == 3 * 4


def test_lines_in_shared_chains_are_tried_too() -> None:
    tool, tracker = OldKernel("-p sctp"), many_services(3)
    key = ("ns", "svc-1")
    ports = (Port("http", Protocol.SCTP, 80),)
    tracker.set_service(key, replace(tracker._services[key], ports=ports))
    IptablesFamily(tool, SETTINGS).apply(tracker.desired(), NODE)
    assert endpoints_in(tool.kernel) == 2 * len(four_endpoints(0))


def test_a_refusal_of_fixed_rules_is_nobodys() -> None:
    with pytest.raises(KernelRefusedError):
        IptablesFamily(OldKernel("MASQUERADE"), SETTINGS).apply(many_services(3).desired(), NODE)


def test_the_trials_are_few_however_many_services_need_a_module() -> None:
    ruleset = IptablesRuleset(Family.V4, SETTINGS)
    ruleset.update(with_affinity(many_services(1000), *range(0, 1000, 2)).desired(), NODE)
    tries = []

    def accepts(keys) -> bool:
        tries.append(len(keys))
        return not any("-m recent" in rule for key in keys for rule in ruleset.rules_of(key))

    assert len(find_refused(ruleset, accepts)) == 500
    assert len(tries) < 60
