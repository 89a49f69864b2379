"""Full and partial syncs are told apart in the metrics, by family, in every mode."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from proxy.applier import Applier
from proxy.backends.base import open_backend
from proxy.backends.iptables.tool import IptablesTool
from proxy.counters.counting import CounterDetail, ServiceCounters
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.linux.nft_events import NftListener
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family
from proxy.status.metrics import ProxyMetrics
from tests.support.cni.worker import Worker
from tests.support.groups import group, join
from tests.support.proxy.rulesets import many_services
from tests.support.proxy.strategies import NODE, SETTINGS

Counts = dict[str, tuple[int, int]]  # IPv4, IPv6


@pytest.fixture
def node(spaces: Callable) -> Iterator[Worker]:
    worker = Worker(spaces("kinds"))
    yield worker
    worker.stop()


def _counts(metrics: ProxyMetrics, names: list[str]) -> Counts:
    text = metrics.text()
    return {
        name: tuple(
            int(re.findall(rf'^kubeproxy_{name}{{ip_family="{family}"}} (\d+)$', text, re.M)[0])
            for family in ("IPv4", "IPv6")
        )
        for name in names
    }


DURATIONS = [f"sync_{kind}_proxy_rules_duration_seconds_count" for kind in ("full", "partial")]
FAILURES = [
    f"sync_proxy_rules_iptables_{kind}_failures_total" for kind in ("partial_restore", "restore")
]


def _applier(
    mode: str, options: dict[str, str], events: NftListener, links: LinkListener
) -> tuple[Applier, ProxyMetrics]:
    metrics = ProxyMetrics(mode, SETTINGS.families)
    backend = open_backend(mode, SETTINGS, options)
    counting = ServiceCounters(SETTINGS, CounterDetail.OFF)
    bridges = PodBridges({}, links)
    return Applier(mode, backend, SETTINGS, metrics, counting, events, bridges), metrics


def change_and_flush(mode: str, options: dict[str, str]) -> list[Counts]:
    """In the node: a load, two changes, another program's flush, and the counts after each."""
    with closing(NftListener()) as events, closing(LinkListener()) as links:
        applier, metrics = _applier(mode, options, events, links)
        found = []
        for count in (3, 4, 5):
            applier.apply(many_services(count).desired(), NODE)
            found.append(_counts(metrics, DURATIONS))
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        assert applier.disturbed()
        applier.apply(many_services(5).desired(), NODE)
        found.append(_counts(metrics, DURATIONS))
    for left in (mode, "nftables"):
        open_backend(left, SETTINGS, options if left == mode else {}).remove()
    return found


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ebpf"])
def test_a_sync_is_full_at_the_start_and_after_a_flush(node: Worker, mode: str) -> None:
    with group("kinds") as root:
        join(root, [node])
        options = {"iptables": {"flavor": "nft"}, "nftables": {}, "ebpf": {"cgroup-root": root}}
        found = node.call(change_and_flush, mode, options[mode])
        node.stop()
    full, partial = ([counts[name] for counts in found] for name in DURATIONS)
    assert full == [(1, 1), (1, 1), (1, 1), (2, 2)]
    assert partial == [(0, 0), (1, 1), (2, 2), (2, 2)]


def refuse_once(first: bool) -> Counts:
    """In the node: IPv4's rules are refused once, in the first sync or in a change."""
    restore, refusing = IptablesTool.restore, [first]

    def refuse(tool: IptablesTool, transaction: bytes) -> None:
        if refusing[0] and tool.family is Family.V4:
            raise KernelRefusedError("refused")
        restore(tool, transaction)

    IptablesTool.restore = refuse  # type: ignore[method-assign]
    with closing(NftListener()) as events, closing(LinkListener()) as links:
        applier, metrics = _applier("iptables", {"flavor": "nft"}, events, links)
        for count in (3, 4, 5):
            try:
                applier.apply(many_services(count).desired(), NODE)
            except KernelRefusedError:
                refusing[0] = False
            else:
                refusing[0] = count == 3 and not first
    IptablesTool.restore = restore  # type: ignore[method-assign]
    return _counts(metrics, DURATIONS + FAILURES)


def test_a_refused_change_makes_its_family_alone_sync_in_full(node: Worker) -> None:
    found = node.call(refuse_once, False)
    assert list(found.values()) == [(2, 1), (1, 2), (1, 0), (1, 0)]


def test_a_refused_load_is_no_failure_of_a_partial_sync(node: Worker) -> None:
    found = node.call(refuse_once, True)
    assert list(found.values()) == [(2, 1), (1, 2), (0, 0), (1, 0)]
