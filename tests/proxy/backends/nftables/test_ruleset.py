"""The table: after any history it is that of the last state, and every step commits."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.nftables import backend
from proxy.backends.nftables.objects import CLIENTS
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family, Port, Protocol, Service, Slice
from tests.support.proxy.fake_nft import FakeNft, RefusedError
from tests.support.proxy.rulesets import FakeNftNode, four_endpoints, many_services
from tests.support.proxy.strategies import NODE, few, histories, replay


def contents(kernel: FakeNft) -> tuple:
    """Return a table's meaning.

    The order in which a client's endpoint is looked up depends on history.
    """
    chains = {name: sorted(rules, key=lookups) for name, rules in kernel.chains.items()}
    return chains, kernel.hooks, kernel.stores, kernel.specs


def lookups(rule: str) -> str:
    """Sort rules that look up a client's endpoint by their text; all others keep their places."""
    return rule if f"@{CLIENTS} goto" in rule else "~"


@pytest.mark.parametrize("family", Family)
@few
@given(history=histories)
def test_steps_end_as_a_fresh_start_does(family, history):
    tracker, node = Tracker(NODE, tuple(Family)), FakeNftNode(FakeNft(), family)
    node.apply(tracker)
    for change in history:
        replay(tracker, [change])
        node.apply(tracker)
    fresh = FakeNftNode(FakeNft(), family)
    fresh.apply(tracker)
    assert contents(node.kernel) == contents(fresh.kernel)


@few
@given(histories, histories)
def test_a_restart_replaces_all_in_one_transaction(before, after):
    tracker, kernel = Tracker(NODE, tuple(Family)), FakeNft()
    replay(tracker, before)
    FakeNftNode(kernel).apply(tracker)
    replay(tracker, after)
    again, fresh = FakeNftNode(kernel), FakeNftNode(FakeNft())
    again.apply(tracker)
    fresh.apply(tracker)
    assert len(again.texts) == 1
    assert contents(kernel) == contents(fresh.kernel)


KEY = ("ns", "web")


def serve(tracker: Tracker, node: FakeNftNode, *endpoints: int) -> list[str]:
    """Give a Service with affinity some of four endpoints; return the order of their lookups."""
    ports = (Port("", Protocol.TCP, 80),)
    tracker.set_service(KEY, Service(KEY, ports, (ip_address("10.96.0.1"),), affinity=60))
    chosen = tuple(four_endpoints(1)[one] for one in endpoints)
    tracker.set_slice(KEY, Slice(KEY, {("", Protocol.TCP): chosen}))
    node.apply(tracker)
    (chain,) = (name for name in node.kernel.chains if re.fullmatch(r"cluster-[A-Z2-7]+", name))
    rules = node.kernel.chains[chain]
    ends = [rule.rpartition(" goto ")[2] for rule in rules if lookups(rule) != "~"]
    assert sorted(rules, key=lookups)[: len(ends)] == sorted(rules[: len(ends)])
    return [node.kernel.chains[end][1].rpartition(" to ")[2] for end in ends]


def ends(kernel: FakeNft) -> dict[str, list[str]]:
    """Return the chains of endpoints with affinity."""
    return {name: rules for name, rules in kernel.chains.items() if name.startswith("sticky-")}


def test_a_restart_forgets_no_client_of_a_service_with_affinity():
    tracker, kernel = Tracker(NODE, (Family.V4,)), FakeNft()
    serve(tracker, FakeNftNode(kernel), 0, 1, 2, 3)
    before = ends(kernel)
    kernel.stores[CLIENTS] = {"7 . 10.244.9.1": ""}
    serve(tracker, FakeNftNode(kernel), 0, 1, 2)
    assert kernel.stores[CLIENTS] == {"7 . 10.244.9.1": ""}
    assert ends(kernel).items() < before.items()  # with the same numbers


def test_an_older_versions_sets_of_clients_are_removed():
    tracker, kernel = Tracker(NODE, (Family.V4,)), FakeNft()
    kernel.commit("add table ip podwire-proxy\nadd set ip podwire-proxy sticky-OLD { spec }\n")
    serve(tracker, FakeNftNode(kernel), 0, 1)
    assert [name for name in kernel.specs if name.startswith("sticky-")] == [CLIENTS]


def test_a_returning_endpoint_is_looked_up_last():
    """Its clients went to other endpoints when it was removed, and stay there."""
    tracker, node = Tracker(NODE, (Family.V4,)), FakeNftNode(FakeNft())
    first = serve(tracker, node, 0, 1, 2)
    assert serve(tracker, node, 1, 2) == first[1:]
    assert serve(tracker, node, 0, 1, 2, 3) == [*first[1:], first[0], "10.244.0.7:8080"]
    node.forget()
    assert serve(tracker, node, 0, 1, 2) == [*first[1:], first[0]]


def test_services_with_affinity_share_their_sets():
    """The kernel searches the names of all sets for each rule that names one."""
    tracker, node = many_services(100), FakeNftNode(FakeNft())
    node.apply(tracker)
    stores = set(node.kernel.specs)
    for number in range(100):
        key = ("ns", f"svc-{number}")
        ports = (Port("http", Protocol.TCP, 80),)
        address = ip_address("10.96.0.0") + number
        tracker.set_service(key, Service(key, ports, (address,), affinity=60))
    node.apply(tracker)
    assert set(node.kernel.specs) < stores
    assert "vmap {" not in node.texts[-1]


def test_one_change_among_10000_services_is_a_small_transaction():
    tracker, node = many_services(10_000), FakeNftNode(FakeNft())
    node.apply(tracker)
    assert len(node.kernel.stores["services"]) == 10_000
    assert len(node.kernel.chains) < 30
    key = ("ns", "svc-7")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four_endpoints(7)[:3]}))
    node.apply(tracker)
    assert len(node.texts[-1]) < 1500
    count = len(node.texts)
    node.apply(tracker)
    assert len(node.texts) == count


def test_a_table_that_cannot_be_read_is_not_written():
    tracker, node = many_services(2), FakeNftNode(FakeNft())
    node.hidden = True
    with pytest.raises(KernelRefusedError):
        node.apply(tracker)
    assert not node.texts
    node.hidden = False
    node.apply(tracker)
    fresh = FakeNftNode(FakeNft())
    fresh.apply(tracker)
    assert contents(node.kernel) == contents(fresh.kernel)


def test_after_a_failed_write_everything_is_written():
    tracker, node = many_services(2), FakeNftNode(FakeNft())
    node.apply(tracker)
    node.broken = True
    key = ("ns", "svc-0")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four_endpoints(7)[:3]}))
    with pytest.raises(KernelRefusedError):
        node.apply(tracker)
    node.broken = False
    node.kernel.__init__()  # whatever has happened meanwhile
    node.apply(tracker)
    fresh = FakeNftNode(FakeNft())
    fresh.apply(tracker)
    assert contents(node.kernel) == contents(fresh.kernel)


@few
@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_no_name_escapes_its_comment(namespace, name, port):
    tracker, node = Tracker(NODE, (Family.V4,)), FakeNftNode(FakeNft())
    key = (namespace, name)
    ports = (Port(port, Protocol.TCP, 80, 30080),)
    tracker.set_service(key, Service(key, ports, (ip_address("10.96.0.1"),), affinity=9))
    tracker.set_slice(key, Slice(key, {(port, Protocol.TCP): four_endpoints(1)}))
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
        with pytest.raises(RefusedError):
            kernel.commit(bad)


def test_a_big_table_comes_into_force_whole(monkeypatch):
    """It is made in steps. Hooks come with the last one, and after a failure all is made anew."""
    tracker, plain = many_services(300), FakeNftNode(FakeNft())
    monkeypatch.setattr(backend, "BIG", 1_000_000)
    plain.apply(tracker)
    monkeypatch.setattr(backend, "BIG", 1000)
    whole = FakeNftNode(FakeNft())
    whole.apply(tracker)
    assert len(plain.texts) == 1
    assert len(whole.texts) == 3
    assert contents(whole.kernel) == contents(plain.kernel)
    for stop in range(3):
        node = FakeNftNode(FakeNft())
        node.ends_after = stop
        with pytest.raises(KernelRefusedError):
            node.apply(tracker)
        assert not any(node.kernel.hooks.values())
        node.ends_after = None
        node.apply(tracker)
        assert contents(node.kernel) == contents(plain.kernel)
