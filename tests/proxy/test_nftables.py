"""The table of any history of states is that of the last, and every step is one that commits."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.claims import Claims
from proxy.errors import KernelRefused
from proxy.model import Family, Port, Protocol, Service, Slice
from proxy.nftables.backend import FamilyBackend
from proxy.nftables.observe import Observed
from proxy.tracker import Tracker
from tests.proxy.fake_nft import FakeNft, Refused
from tests.proxy.strategies import NODE, SETTINGS, few, histories
from tests.proxy.test_ruleset import big, four
from tests.proxy.test_tracker import replay


class Node:
    """A backend for one family over a fake kernel."""

    def __init__(self, kernel: FakeNft, family: Family = Family.V4) -> None:
        self.kernel = kernel
        self.texts: list[str] = []
        self.broken = False
        self._claims = Claims(SETTINGS)
        self._backend = FamilyBackend(self, self._observe, family, SETTINGS, self._claims)
        self._family = family

    def commit(self, text: str) -> None:
        self.texts.append(text)
        if self.broken:
            raise KernelRefused("broken")
        self.kernel.commit(text)

    def _observe(self, _: Family) -> Observed:
        sorts = {sort: [] for sort in ("map", "set")}
        for name, (sort, _spec) in self.kernel.specs.items():
            sorts[sort].append(name)
        return Observed(tuple(self.kernel.chains), tuple(sorts["map"]), tuple(sorts["set"]))

    def apply(self, tracker: Tracker) -> None:
        steps = self._claims.update(tracker.desired())
        self._backend.apply([one for one in steps if one.frontend.family is self._family], NODE)


def contents(kernel: FakeNft) -> tuple:
    return kernel.chains, kernel.hooks, kernel.stores, kernel.specs


@pytest.mark.parametrize("family", Family)
@few
@given(history=histories)
def test_steps_lead_where_a_fresh_start_leads(family, history):
    tracker, node = Tracker(NODE, tuple(Family)), Node(FakeNft(), family)
    node.apply(tracker)
    for change in history:
        replay(tracker, [change])
        node.apply(tracker)
    fresh = Node(FakeNft(), family)
    fresh.apply(tracker)
    assert contents(node.kernel) == contents(fresh.kernel)


@few
@given(histories, histories)
def test_a_restart_replaces_all_in_one_transaction(before, after):
    tracker, kernel = Tracker(NODE, tuple(Family)), FakeNft()
    replay(tracker, before)
    Node(kernel).apply(tracker)
    replay(tracker, after)
    again, fresh = Node(kernel), Node(FakeNft())
    again.apply(tracker)
    fresh.apply(tracker)
    assert len(again.texts) == 1
    assert contents(kernel) == contents(fresh.kernel)


def test_a_restart_forgets_no_client_of_a_service_with_affinity():
    tracker, kernel = Tracker(NODE, (Family.V4,)), FakeNft()
    key = ("ns", "web")
    service = Service(key, (Port("", Protocol.TCP, 80),), (ip_address("10.96.0.1"),), affinity=60)
    tracker.set_service(key, service)
    tracker.set_slice(key, Slice(key, {("", Protocol.TCP): four(1)}))
    Node(kernel).apply(tracker)
    stores = [name for name in kernel.stores if name.startswith("sticky-")]
    assert len(stores) == 4
    for number, name in enumerate(stores):
        kernel.stores[name] = {f"10.244.9.{number}": ""}
    tracker.set_slice(key, Slice(key, {("", Protocol.TCP): four(1)[:3]}))
    Node(kernel).apply(tracker)
    assert [kernel.stores.get(name) is not None for name in stores].count(True) == 3
    assert all(kernel.stores[name] for name in stores if name in kernel.stores)


def test_one_change_among_10000_services_is_a_small_transaction():
    tracker, node = big(10_000), Node(FakeNft())
    node.apply(tracker)
    assert len(node.kernel.stores["services"]) == 10_000
    assert len(node.kernel.chains) < 30
    key = ("ns", "svc-7")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four(7)[:3]}))
    node.apply(tracker)
    assert len(node.texts[-1]) < 1500
    count = len(node.texts)
    node.apply(tracker)
    assert len(node.texts) == count


def test_a_failed_write_is_followed_by_a_whole_one():
    tracker, node = big(2), Node(FakeNft())
    node.apply(tracker)
    node.broken = True
    key = ("ns", "svc-0")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four(7)[:3]}))
    with pytest.raises(KernelRefused):
        node.apply(tracker)
    node.broken = False
    node.kernel.__init__()  # whatever has happened meanwhile
    node.apply(tracker)
    fresh = Node(FakeNft())
    fresh.apply(tracker)
    assert contents(node.kernel) == contents(fresh.kernel)


@few
@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_no_name_escapes_its_comment(namespace, name, port):
    tracker, node = Tracker(NODE, (Family.V4,)), Node(FakeNft())
    key = (namespace, name)
    ports = (Port(port, Protocol.TCP, 80, 30080),)
    tracker.set_service(key, Service(key, ports, (ip_address("10.96.0.1"),), affinity=9))
    tracker.set_slice(key, Slice(key, {(port, Protocol.TCP): four(1)}))
    node.apply(tracker)
    assert list(node.kernel.stores["services"]) == ["10.96.0.1 . tcp . 80"]
    names = {re.sub(r"[A-Z2-7]{16}|\d+", "N", chain) for chain in node.kernel.chains}
    assert {"sticky-N", "cluster-N", "all-cluster-N", "outsiders-cluster-N"} < names


def test_the_fake_refuses_what_the_kernel_refuses():
    kernel = FakeNft()
    kernel.commit("add table ip t\nadd map ip t m { spec }\nadd chain ip t c\n")
    kernel.commit('add element ip t m { 1.2.3.4 . tcp . 80 comment "x" : goto c }\n')
    for bad in (
        "add element ip t m { 1.2.3.4 . tcp . 80 : drop }",
        "add element ip t m { 1.2.3.5 : goto nowhere }",
        "delete chain ip t c",
        "delete element ip t m { 1.2.3.9 : goto c }",
        "add rule ip t c ip saddr @nothing drop",
        'add element ip t m { 1.2.3.4 comment "a" b" : drop }',
        "flush ruleset",
    ):
        with pytest.raises(Refused):
            kernel.commit(bad)
