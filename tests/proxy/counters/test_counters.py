"""Counters: their table follows the Services, and totals only grow."""

import errno
import logging
import re
from collections.abc import Mapping
from ipaddress import ip_address

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli import main
from proxy.counters.counting import ServiceCounters
from proxy.counters.exposition import parse, text
from proxy.counters.table import TABLE
from proxy.counters.top import rows, table
from proxy.counters.totals import PortLabel, TrafficCount, TrafficTotals, grown
from proxy.desired.desired import Desired
from proxy.desired.portals import Frontend
from proxy.desired.tracker import Tracker
from proxy.linux.nft_events import NftEvent, NftEventKind
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import CounterDetail
from proxy.model.values import Family, Protocol, Slice
from tests.support.proxy.fake_nft import FakeNft
from tests.support.proxy.rulesets import four_endpoints, many_services
from tests.support.proxy.strategies import NODE, SETTINGS, few, histories, replay

WEB = PortLabel("ns", "web", 80, "TCP")
ONE = Frontend(Family.V4, ip_address("10.96.0.1"), 80, Protocol.TCP)
TWO = Frontend(Family.V4, None, 30080, Protocol.TCP)

counts = st.builds(TrafficCount, *[st.integers(0, 2**64 - 1)] * 3)


class Kernel:
    """Both families' tables."""

    def __init__(self) -> None:
        self.tables = {"ip": FakeNft(), "ip6": FakeNft()}
        self.texts: list[str] = []
        self.broken = False

    def commit(self, commands: str) -> None:
        if self.broken:
            raise KernelRefusedError("nft: broken")
        self.texts.append(commands)
        (family,) = set(re.findall(rf" (ip6?) {TABLE}\b", commands))
        self.tables[family].commit(commands)

    def contents(self) -> list[tuple]:
        return [(one.chains, one.hooks, one.stores, one.specs) for one in self.tables.values()]


def counting(kernel: Kernel, detail: CounterDetail = CounterDetail.PACKETS) -> ServiceCounters:
    return ServiceCounters(SETTINGS, detail, kernel.commit)


@pytest.mark.parametrize("detail", [CounterDetail.CONNECTIONS, CounterDetail.PACKETS])
@few
@given(history=histories)
def test_steps_end_as_a_fresh_start_does(detail: CounterDetail, history) -> None:
    tracker, kernel, fresh = Tracker(NODE, tuple(Family)), Kernel(), Kernel()
    made = counting(kernel, detail)
    for change in history:
        replay(tracker, [change])
        made.apply(tracker.desired())
    made.apply(tracker.desired())
    counting(fresh, detail).apply(tracker.desired())
    assert kernel.contents() == fresh.contents()


def test_a_change_of_endpoints_leaves_the_counters_alone() -> None:
    tracker, kernel = many_services(100), Kernel()
    made = counting(kernel)
    made.apply(tracker.desired())
    count = len(kernel.texts)
    key = ("ns", "svc-7")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four_endpoints(7)[:3]}))
    made.apply(tracker.desired())
    assert len(kernel.texts) == count
    tracker.set_service(key, None)
    made.apply(tracker.desired())
    assert all(line.startswith("delete element") for line in kernel.texts[-1].splitlines())


def test_a_kernel_that_refuses_to_count_is_logged_once_and_tried_again(caplog) -> None:
    tracker, kernel = many_services(2), Kernel()
    made, kernel.broken = counting(kernel), True
    for _ in range(3):
        made.apply(tracker.desired())
    assert caplog.text.count("Services are not counted: nft: broken") == 1
    kernel.broken = False
    made.apply(tracker.desired())
    assert len(kernel.tables["ip"].stores["connections"]) == 2


def test_removed_counters_are_written_again() -> None:
    tracker, kernel = many_services(2), Kernel()
    made = counting(kernel)
    made.apply(tracker.desired())
    assert made.disturbed([NftEvent(NftEventKind.TABLE, True, "podwire-proxy", "", b"")]) == ""
    kernel.__init__()
    assert TABLE in made.disturbed([NftEvent(NftEventKind.TABLE, True, TABLE, "", b"")])
    made.apply(tracker.desired())
    assert len(kernel.tables["ip"].stores["packets"]) == 2


def test_without_counting_the_kernel_is_not_asked() -> None:
    kernel = Kernel()
    kernel.broken = True
    made = counting(kernel, CounterDetail.OFF)
    made.apply(Desired())
    assert made.totals() == {}
    assert made.text() == ""


def test_a_missing_table_has_no_counters(caplog) -> None:
    caplog.set_level(logging.WARNING)
    assert counting(Kernel()).totals() == {}
    assert not caplog.text


def test_a_partial_reading_is_discarded(monkeypatch, caplog) -> None:
    """Otherwise the missing counters would be counted twice when they can be read again."""
    frontend = Frontend(Family.V4, ip_address("10.96.0.0"), 80, Protocol.TCP)  # big's first

    def read(family: Family, store: str) -> list[tuple[Frontend, int, int]]:
        here = family is Family.V4 and not store.startswith("port-")
        return [(frontend, 5, 500)] if here else []

    def fail(family: Family, store: str) -> list[tuple[Frontend, int, int]]:
        if store == "packets":
            raise OSError(errno.ENOBUFS, "no room")
        return read(family, store)

    made = counting(Kernel())
    made.apply(many_services(1).desired())
    for reader in (read, fail, read):
        monkeypatch.setattr("proxy.counters.counting.counters", reader)
        assert list(made.totals().values()) == [TrafficCount(5, 5, 500)]
    assert caplog.text.count("cannot be read: [Errno") == 1


@given(st.lists(st.tuples(counts, counts), max_size=6))
def test_totals_are_the_sum_of_all_growth(looks) -> None:
    """One Service has two frontends, whose counters sometimes begin again."""
    totals, expected = TrafficTotals(), TrafficCount()
    before = {ONE: TrafficCount(), TWO: TrafficCount()}
    for found in looks:
        now = dict(zip((ONE, TWO), found, strict=True))
        for frontend, one in now.items():
            expected = expected.plus(grown(before[frontend], one))
        before = now
        sums = totals.take(now, {ONE: WEB, TWO: WEB})
        assert sums.get(WEB, TrafficCount()) == expected
        assert all(field >= 0 for field in sums.get(WEB, TrafficCount()))


def test_new_counters_count_from_zero() -> None:
    totals, owners = TrafficTotals(), {ONE: WEB}
    totals.take({ONE: TrafficCount(5)}, owners)
    totals.forget(ONE)
    assert totals.take({ONE: TrafficCount(7)}, owners) == {WEB: TrafficCount(12)}
    totals.restart()
    assert totals.take({ONE: TrafficCount(7)}, owners) == {WEB: TrafficCount(19)}
    assert totals.take({}, owners) == {WEB: TrafficCount(19)}


def test_a_removed_service_is_forgotten_and_unknown_counters_are_ignored() -> None:
    totals = TrafficTotals()
    totals.take({ONE: TrafficCount(5), TWO: TrafficCount(1)}, {ONE: WEB})
    assert totals.take({}, {TWO: PortLabel("ns", "db", 1, "TCP")}) == {}
    assert totals.take({ONE: TrafficCount(6)}, {ONE: WEB}) == {WEB: TrafficCount(1)}


labels = st.builds(
    PortLabel,
    st.text(),
    st.text(),
    st.integers(1, 65535),
    st.sampled_from(["TCP", "UDP", "SCTP"]),
)
found = st.dictionaries(labels, counts.filter(any), max_size=4)


@few
@given(found)
def test_totals_are_parsed_as_written_with_any_names(
    totals: Mapping[PortLabel, TrafficCount],
) -> None:
    page = f"kubeproxy_x 1\n{text(totals, CounterDetail.PACKETS)}podwire_service_x_total{{}} 1\n"
    assert parse(page) == totals


@few
@given(found)
def test_a_name_ends_no_line(totals: Mapping[PortLabel, TrafficCount]) -> None:
    lines = text(totals, CounterDetail.CONNECTIONS).split("\n")
    called = [label for label, count in totals.items() if count.connections]
    assert len(lines) == 2 + len(called) + 1


def test_a_service_that_nobody_called_has_no_line() -> None:
    page = text({WEB: TrafficCount(3)}, CounterDetail.PACKETS)
    assert page.count("\n") == 7
    name = (
        'podwire_service_connections_total{namespace="ns",service="web",port="80",protocol="TCP"}'
    )
    assert f"{name} 3\n" in page
    assert text({}, CounterDetail.OFF) == ""


def test_top_puts_the_busiest_first() -> None:
    quiet, idle = PortLabel("ns", "quiet", 80, "TCP"), PortLabel("ns", "idle", 53, "UDP")
    before = {WEB: TrafficCount(10, 100, 5000), quiet: TrafficCount(5), idle: TrafficCount(1)}
    after = {quiet: TrafficCount(7), idle: TrafficCount(9), WEB: TrafficCount(30, 140, 9000)}
    after[idle] = before[idle]
    first, second, third = rows(before, after, 2.0)
    assert (first.service, second.service, third.service) == ("web", "quiet", "idle")
    assert (first.connections_per_second, first.packets_per_second) == (10.0, 20.0)
    assert list(table([first, third])) == [
        "SERVICE   PORT     CONNECTIONS   NEW/S   PACKETS/S   KB/S",
        "ns/web    80/TCP            30    10.0        20.0    2.0",
        "ns/idle   53/UDP             1     0.0         0.0    0.0",
    ]


def test_top_says_if_no_proxy_answers() -> None:
    done = CliRunner().invoke(main, ["top", "--url", "http://127.0.0.1:1/metrics"])
    assert done.exit_code == 1
    assert done.output == (
        "podwire proxy top: no proxy answers at http://127.0.0.1:1/metrics: Connection refused; "
        "run this on a node, where podwire proxy runs\n"
    )
