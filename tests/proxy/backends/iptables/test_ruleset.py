"""The rules: after any history they are those of the last state, and every step commits."""

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.backends.iptables.observe import parse
from proxy.backends.iptables.ownership import removal
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.proxy.fake_iptables import FakeIptables
from tests.support.proxy.rulesets import four_endpoints, many_services, start_iptables
from tests.support.proxy.strategies import NODE, SETTINGS, few, histories, replay


def entries(kernel: FakeIptables) -> dict[str, str]:
    """Return the frontends of KUBE-SERVICES, and the chain to which each leads."""
    return {
        rule.partition(" -m comment")[0]: rule.rpartition("-j ")[2]
        for rule in kernel.tables["nat"].get("KUBE-SERVICES", ())
        if "KUBE-NODEPORTS" not in rule
    }


def reach(kernel: FakeIptables, chain: str) -> set[str]:
    """Return the endpoints that a chain can reach."""
    found = set()
    for rule in kernel.tables["nat"].get(chain, ()):
        if target := re.search(r"--to-destination (\S+)", rule):
            found.add(target[1])
        elif jump := re.search(r"-j (KUBE-\S+)$", rule):
            found |= reach(kernel, jump[1])
    return found


def served(kernel: FakeIptables) -> dict[str, set[str]]:
    """Return the frontends of KUBE-SERVICES, and the endpoints that each can reach."""
    return {place: reach(kernel, chain) for place, chain in entries(kernel).items()}


@pytest.mark.parametrize("family", Family)
@few
@given(history=histories)
def test_steps_end_as_a_fresh_start_does(family, history):
    kernel, tracker = FakeIptables(), Tracker(NODE, tuple(Family))
    ruleset = start_iptables(kernel, family, tracker.desired())
    for change in history:
        replay(tracker, [change])
        if step := ruleset.update(tracker.desired(), NODE):
            kernel.restore(step.text())
    fresh = FakeIptables()
    start_iptables(fresh, family, tracker.desired())
    assert kernel.tables == fresh.tables


def _policy_changes() -> list[list]:
    """Return two states: a ClusterIP's endpoints are the node's own in the second one only."""
    key, other = ("ns", "a"), ("ns", "b")
    port, clusters = Port("", Protocol.TCP, 1), (ip_address("10.96.0.1"),)
    first, second = (Endpoint(Target.of(ip_address(f"10.244.0.{n}"), 8080)) for n in (1, 2))
    wanted = {("", Protocol.TCP): (first,)}
    more = {("", Protocol.TCP): (replace(first, local=True), second)}
    open_port = Port("", Protocol.TCP, 1, 30000)
    last = Service(key, (open_port,), clusters, internal_local=True)
    neighbor = Service(other, (port,), (ip_address("10.96.0.2"),))
    return [
        [("service", key, Service(key, (port,), clusters)), ("slice", key, Slice(key, wanted))],
        [
            ("service", key, last),
            ("service", other, neighbor),
            ("slice", key, Slice(key, more)),
        ],
    ]


@few
@example(_policy_changes(), 1)
@given(st.lists(histories, min_size=2, max_size=2), st.sampled_from([None, 1, 2]))
def test_a_restart_adopts_and_never_interrupts(states, chunk):
    kernel, tracker = FakeIptables(), Tracker(NODE, tuple(Family))
    replay(tracker, states[0])
    start_iptables(kernel, Family.V4, tracker.desired())
    before, led = served(kernel), entries(kernel)
    replay(tracker, states[1])
    fresh = FakeIptables()
    start_iptables(fresh, Family.V4, tracker.desired())
    after = served(fresh)
    lasting = {place for place in before.keys() & after.keys() if before[place] and after[place]}
    # Until the last step a frontend leads to its chain of before. If the traffic policy changed
    # while no proxy ran, that chain has the endpoints of the other policy by then.
    between = {place: reach(fresh, led[place]) for place in lasting}

    def uninterrupted() -> None:
        now = served(kernel)
        for place in lasting:
            assert now[place]
            assert now[place] <= before[place] | between[place] | after[place]

    start_iptables(kernel, Family.V4, tracker.desired(), chunk, uninterrupted)
    assert served(kernel) == after
    chains = {table: set(chains) for table, chains in kernel.tables.items()}
    assert chains == {table: set(chains) for table, chains in fresh.tables.items()}


@few
@given(histories)
def test_a_second_start_adds_no_jump(history):
    kernel, tracker = FakeIptables(), Tracker(NODE, tuple(Family))
    replay(tracker, history)
    start_iptables(kernel, Family.V6, tracker.desired())
    copy = {table: dict(chains) for table, chains in kernel.tables.items()}
    start_iptables(kernel, Family.V6, tracker.desired())
    assert kernel.tables == copy


FOREIGN = b"""*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
-A FORWARD -i docker0 -j ACCEPT
COMMIT
"""


@few
@given(histories)
def test_removal_leaves_other_rules(history):
    kernel, tracker = FakeIptables(), Tracker(NODE, tuple(Family))
    kernel.restore(FOREIGN)
    untouched = {table: dict(chains) for table, chains in kernel.tables.items()}
    replay(tracker, history)
    start_iptables(kernel, Family.V4, tracker.desired())
    kernel.restore(removal(parse(kernel.save())))
    assert kernel.tables == untouched
    assert removal(parse(kernel.save())) == b""


def test_removal_leaves_the_chains_of_kubelet_and_other_programs():
    kernel = FakeIptables()
    start_iptables(kernel, Family.V4, Desired())
    kernel.restore(
        b"*nat\n:MINE - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A MINE -j KUBE-SERVICES\nCOMMIT\n"
    )
    kernel.restore(removal(parse(kernel.save())))
    assert kernel.tables["filter"]["KUBE-FIREWALL"]
    assert any("KUBE-FIREWALL" in rule for rule in kernel.tables["filter"]["INPUT"])
    assert kernel.tables["nat"]["KUBE-SERVICES"] == []  # held by MINE: empty is all we can do
    assert kernel.tables["nat"]["MINE"] == ["-j KUBE-SERVICES"]


def test_one_change_among_10000_services_is_a_small_transaction():
    tracker, kernel = many_services(10_000), FakeIptables()
    ruleset = start_iptables(kernel, Family.V4, tracker.desired(), chunk=500)
    assert len(served(kernel)) == 10_000
    key = ("ns", "svc-7")
    tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four_endpoints(7)[:3]}))
    step = ruleset.update(tracker.desired(), NODE)
    assert len(step.text()) < 2000
    assert len(step.put) == 1
    assert len(step.drop) == 1
    kernel.restore(step.text())
    assert len(served(kernel)["-d 10.96.0.7 -p tcp -m tcp --dport 80"]) == 3
    assert not ruleset.update(tracker.desired(), NODE)


def test_new_node_addresses_render_everything_again():
    tracker, kernel = Tracker(NODE, tuple(Family)), FakeIptables()
    ruleset = start_iptables(kernel, Family.V4, tracker.desired())
    moved = replace(NODE, addresses=(ip_address("192.168.0.77"),))
    key = ("ns", "a")
    tracker.set_service(
        key,
        Service(
            key,
            (Port("", Protocol.TCP, 80),),
            (ip_address("10.96.0.1"),),
            load_balancer_ips=(ip_address("203.0.113.1"),),
            sources=(
                SETTINGS.pods[Family.V4].network,
                ip_network("192.168.0.77/32"),
            ),
        ),
    )
    tracker.set_slice(key, Slice(key, {("", Protocol.TCP): four_endpoints(1)}))
    kernel.restore(ruleset.update(tracker.desired(), NODE).text())
    assert not any("-s 203.0.113.1" in rule for rule in all_rules(kernel))
    kernel.restore(ruleset.update(tracker.desired(), moved).text())
    assert any("-s 203.0.113.1" in rule for rule in all_rules(kernel))


def all_rules(kernel: FakeIptables) -> list[str]:
    return [
        rule for chains in kernel.tables.values() for rules in chains.values() for rule in rules
    ]


@few
@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_no_name_escapes_its_comment(namespace, name, port):
    kernel, tracker = FakeIptables(), Tracker(NODE, (Family.V4,))
    key = (namespace, name)
    tracker.set_service(
        key,
        Service(
            key, (Port(port, Protocol.TCP, 80, 30080),), (ip_address("10.96.0.1"),), affinity=9
        ),
    )
    plain = Tracker(NODE, (Family.V4,))
    plain.set_service(("x", "y"), replace(tracker._services[key], key=("x", "y")))
    for one in (tracker, plain):
        service = next(iter(one._services))
        one.set_slice(service, Slice(service, {(port, Protocol.TCP): four_endpoints(1)}))
    start_iptables(kernel, Family.V4, tracker.desired())
    other = FakeIptables()
    start_iptables(other, Family.V4, plain.desired())
    assert shape(kernel) == shape(other)


def shape(kernel: FakeIptables) -> list[str]:
    """Return the rules without the names in them."""
    text = re.sub(r'--comment "[^"\n]*"', "", kernel.save())
    return sorted(re.sub(r"KUBE-(SVC|SEP|EXT|SVL|FW)-[A-Z2-7]{16}", r"\1", text).splitlines())
