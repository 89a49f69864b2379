"""The flows that a change of state makes stale."""

from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from msgspec.structs import replace

from proxy.desired.desired import Desired
from proxy.desired.portals import Frontend, portals
from proxy.desired.tracker import Tracker
from proxy.flows import cleaner
from proxy.flows.cleaner import FlowCleaner
from proxy.flows.record import FlowRecord
from proxy.flows.stale import Flow, FlowPeer, SuspectFlows, has_moved, packed, served, suspects
from proxy.model.settings import ProxySettings
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Target, Weight
from tests.support.proxy.strategies import NODE, SETTINGS, few, histories, replay

KEY = ("ns", "dns")
UDP = (Family.V4, Protocol.UDP)
VIP, EXTERNAL, POD, OTHER, HOST = (
    ip_address(text)
    for text in ("10.96.0.10", "192.0.2.1", "10.244.0.1", "10.244.0.2", "192.168.0.1")
)
SERVICE = Service(KEY, (Port("", Protocol.UDP, 53, 30053),), (VIP,), external_ips=(EXTERNAL,))


def state(*addresses, service=SERVICE, local=False):
    endpoints = [Endpoint(Target.of(address, 5353), local=local) for address in addresses]
    return Desired({KEY: portals(service, {("", Protocol.UDP): endpoints}, NODE)})


def flow(called, answering, port=53, answer_port=5353):
    return Flow(FlowPeer(called.packed, port), FlowPeer(answering.packed, answer_port), b"")


FLOWS = {
    "cluster to pod": flow(VIP, POD),
    "cluster to other": flow(VIP, OTHER),
    "external to pod": flow(EXTERNAL, POD),
    "node port to pod": flow(HOST, POD, 30053),
    "cluster to nobody": flow(VIP, VIP, answer_port=53),
    "node port to nobody": flow(HOST, HOST, 30053, 30053),
    "another node's port": flow(ip_address("192.168.0.2"), ip_address("192.168.0.2"), 30053, 30053),
    "pod to pod": flow(POD, POD, 5353),
    "another port": flow(VIP, POD, 54),
}


def stale(before, after, settings=SETTINGS):
    found = suspects(before, after, settings).get(UDP, SuspectFlows())
    return {name for name, one in FLOWS.items() if found.stale([one], packed([HOST]))}


TO_POD = {"cluster to pod", "external to pod", "node port to pod"}
TO_NOBODY = {"cluster to nobody", "node port to nobody"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(state(POD, OTHER), state(OTHER), TO_POD | TO_NOBODY, id="an endpoint goes"),
        pytest.param(
            state(POD), state(), TO_POD | TO_NOBODY | {"cluster to other"}, id="the last goes"
        ),
        pytest.param(state(), state(OTHER), TO_POD | TO_NOBODY, id="the first comes"),
        pytest.param(state(OTHER), state(OTHER, POD), set(), id="another comes"),
        pytest.param(Desired(), state(POD, OTHER), TO_NOBODY, id="the Service comes"),
        pytest.param(
            state(POD), Desired(), TO_POD | TO_NOBODY | {"cluster to other"}, id="the Service goes"
        ),
        pytest.param(state(POD), state(POD), set(), id="nothing changes"),
    ],
)
def test_flows_without_an_eligible_endpoint(before, after, expected):
    assert stale(before, after) == expected


def test_a_service_removed_while_no_proxy_ran():
    orphans = served(state(POD), SETTINGS)
    found = suspects(Desired(), Desired(), SETTINGS, orphans)[UDP]
    gone = {name for name, one in FLOWS.items() if found.stale([one], packed([HOST]))}
    assert gone == TO_POD | {"cluster to other", "node port to nobody"}


def test_a_service_that_stays_keeps_its_flows():
    orphans = served(state(POD), SETTINGS) - served(state(OTHER), SETTINGS)
    assert not orphans
    assert not has_moved(state(POD), state(OTHER), SETTINGS)
    assert has_moved(state(POD), Desired(), SETTINGS)


@few
@given(histories)
def test_a_record_is_read_as_it_was_written(history):
    made = Tracker(NODE, tuple(Family))
    replay(made, history)
    found = served(made.desired(), SETTINGS)
    with TemporaryDirectory() as folder:
        record = FlowRecord(Path(folder) / "proxy")
        assert record.read() == frozenset()
        record.write(found)
        assert FlowRecord(Path(folder) / "proxy").read() == found
        record.remove()
        record.remove()
        assert record.read() == frozenset()


def test_frontends_are_recorded_before_they_are_served(tmp_path):
    """A proxy that is killed right after its rules are in force has got no further than this."""
    first, second = (FlowRecord(tmp_path) for _ in range(2))
    cleaner = FlowCleaner(SETTINGS, first)
    cleaner.expect(state(POD))
    assert second.read() == served(state(POD), SETTINGS)
    more = replace(SERVICE, external_ips=(EXTERNAL, OTHER))
    cleaner.expect(state(POD, service=more))
    assert second.read() == served(state(POD, service=more), SETTINGS)
    cleaner.expect(state(OTHER))  # what is still in force until the rules are others stays
    assert second.read() == served(state(POD, service=more), SETTINGS)


def test_malformed_lines_of_a_record_are_ignored(tmp_path):
    record = FlowRecord(tmp_path)
    (path,) = (record.write(()), *tmp_path.iterdir())[1:]
    path.write_text("4 UDP 10.96.0.10 53\n\n4 UDP x 53\n9 UDP * 1\n4 ICMP * 1\n6 SCTP * 30000\n")
    assert record.read() == {
        Frontend(Family.V4, VIP, 53, Protocol.UDP),
        Frontend(Family.V6, None, 30000, Protocol.SCTP),
    }


def test_only_flows_of_the_removed_frontend_are_stale():
    moved = replace(SERVICE, external_ips=())
    assert stale(state(POD), state(POD, service=moved)) == {"external to pod"}


def test_local_policy_lets_insiders_keep_their_flows():
    local = replace(SERVICE, external_local=True)
    before, after = (state(POD, service=local, local=here) for here in (True, False))
    assert stale(before, after) == set()


def states(*endpoints: Endpoint, **changes: object) -> Desired:
    service = replace(SERVICE, **changes)
    return Desired({KEY: portals(service, {("", Protocol.UDP): endpoints}, NODE)})


HERE = Endpoint(Target.of(POD, 5353), local=True)
THERE = Endpoint(Target.of(OTHER, 5353))
LEAVING = replace(HERE, ready=False, terminating=True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(states(HERE, THERE), states(LEAVING, THERE), set(), id="terminates, serves"),
        pytest.param(
            states(HERE, THERE),
            states(replace(LEAVING, serving=False), THERE),
            TO_POD | TO_NOBODY,
            id="serves no longer",
        ),
        pytest.param(
            states(HERE, THERE),
            states(HERE, replace(THERE, nodes=frozenset({"n2"}))),
            set(),
            id="hints come",
        ),
        pytest.param(
            states(HERE, THERE), states(HERE, THERE, internal_local=True), set(), id="a policy"
        ),
        pytest.param(
            states(HERE, THERE),
            states(HERE, THERE, weights=(Weight(str(POD), 0),)),
            TO_POD | TO_NOBODY,
            id="is to be left",
        ),
    ],
)
def test_flows_stay_with_endpoints_that_serve(before, after, expected):
    """TCP connections do so too: only new flows follow policies, hints and readiness."""
    assert stale(before, after) == expected


def test_tcp_ends_by_itself():
    tcp = replace(SERVICE, ports=(Port("", Protocol.TCP, 53),))
    one = {KEY: portals(tcp, {("", Protocol.TCP): [Endpoint(Target.of(POD, 5353))]}, NODE)}
    assert not suspects(Desired(one), Desired(), ProxySettings())


@few
@given(histories)
def test_unchanged_services_are_not_suspect(history):
    made = Tracker(NODE, tuple(Family))
    replay(made, history)
    want = made.desired()
    assert not suspects(want, made.desired(), SETTINGS)
    assert not suspects(Desired(), Desired(), SETTINGS)


def test_flows_of_others_end_while_a_big_service_is_written(tmp_path, monkeypatch):
    """Those of the big one end when its new state is in force, and its frontends stay recorded."""
    big = ("ns", "big")
    old, new = flow(EXTERNAL, POD), flow(VIP, POD)
    ended: list[Flow] = []
    monkeypatch.setattr(cleaner, "flows", lambda *_: [old, new])
    monkeypatch.setattr(cleaner, "end", lambda _, flows: ended.extend(flows))
    one = replace(SERVICE, external_ips=())
    another = replace(SERVICE, key=big, cluster_ips=(EXTERNAL,), external_ips=())

    def both(*addresses):
        mine, big_one = (state(*addresses, service=each)[KEY] for each in (one, another))
        return Desired({KEY: mine, big: big_one})

    record = FlowRecord(tmp_path)
    made = FlowCleaner(SETTINGS, record)
    before, after = both(POD, OTHER), both(OTHER)
    made.expect(before)
    made.clean(before, {big})
    assert record.read() == served(before, SETTINGS)
    made.clean(before)
    ended.clear()
    made.clean(after, {big})
    assert ended == [new]
    made.clean(after)
    assert ended == [new, old]
