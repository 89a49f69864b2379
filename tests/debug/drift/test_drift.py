"""Differences of routes, the tunnel, leases, links, namespaces and policies: pure."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from debug.doctor.look import look_at
from debug.drift import wanted
from debug.drift.cli import changes, lasting
from debug.drift.find import find
from debug.drift.model import Drift, State
from debug.drift.network import network_drift
from debug.drift.node import pod_drift, policy_drift
from debug.kernel.values import Forwarding, Link, Route
from debug.snapshot import Snapshot
from proxy.policy.wire import NetworkPolicy
from tests.support.debug.healthy import (
    HEALTHY,
    TABLE,
    machine,
    ruleset,
    space,
    with_machine,
    with_node,
    with_objects,
)

SPACE, MACHINE = space(1), machine(1)
POLICY = NetworkPolicy.read({"metadata": {"name": "deny", "namespace": "default"}})


def differences(snapshot: Snapshot) -> Iterator[Drift]:
    """What differs on node1, without rules, which need a kernel."""
    look = look_at(snapshot)
    node = look.nodes[0]
    plan = wanted.network(look, node)
    assert plan and node.machine
    yield from network_drift(look, node, plan)
    yield from pod_drift(look, node, node.machine)
    yield from policy_drift(look, node, node.machine)


def without_link(name: str) -> Snapshot:
    return with_node(links=tuple(one for one in SPACE.links if one.name != name))


CASES = [
    (with_node(routes=SPACE.routes[:2]), State.MISSING, "route", "Pods of node2"),
    (
        with_node(routes=(*SPACE.routes, Route("10.244.9.0/24", link=3, protocol=87))),
        *(State.STALE, "route", "no node"),
    ),
    (
        with_node(routes=(*SPACE.routes, Route("10.244.2.7/32", link=2))),
        *(State.FOREIGN, "route", "another program"),
    ),
    (with_node(forwarding=()), State.MISSING, "forwarding", "Node node2"),
    (
        with_node(forwarding=(*SPACE.forwarding, Forwarding(3, "02::9", "172.31.0.9"))),
        *(State.STALE, "forwarding", "no node"),
    ),
    (with_node(neighbors=()), State.MISSING, "neighbor", "Node node2"),
    (without_link("podwire-vxlan"), State.MISSING, "link", "all other nodes"),
    (without_link("pw1"), State.MISSING, "link", "Pod default/web-1"),
    (
        with_node(links=(*SPACE.links, Link(9, "tap9", "veth", master=4))),
        *(State.FOREIGN, "link", "no Pod"),
    ),
    (with_machine(reservations=()), None, "", ""),
    (
        with_machine(reservations=(replace(MACHINE.reservations[0], address="10.244.1.9"),)),
        *(State.MISSING, "lease", "Pod default/web-1"),
    ),
    (
        with_machine(attachments=(replace(MACHINE.attachments[0], exists=False),)),
        *(State.MISSING, "namespace", "Pod default/web-1"),
    ),
    (with_objects(policies=(POLICY,)), State.MISSING, "policy", "NetworkPolicy default/deny"),
    (
        with_machine(nft=ruleset({"table": {**TABLE, "name": "podwire-policy"}})),
        *(State.STALE, "policy", "no policy"),
    ),
]


def test_a_healthy_node_has_no_drift() -> None:
    assert list(differences(HEALTHY)) == []


@pytest.mark.parametrize(
    ("snapshot", "state", "sort", "owner"),
    CASES,
    ids=[f"{state}-{sort}" for _, state, sort, _ in CASES],
)
def test_a_difference_is_named(
    snapshot: Snapshot, state: State | None, sort: str, owner: str
) -> None:
    found = list(differences(snapshot))
    if state is None:
        assert found == []
    else:
        assert (state, sort, owner) in [(one.state, one.sort, one.owner) for one in found], found
        assert all(one.consequence for one in found)


def test_without_objects_everything_is_unknown() -> None:
    (found,) = find(replace(HEALTHY, cluster=None))
    assert found.state is State.UNKNOWN


def test_what_is_on_its_way_is_no_drift() -> None:
    one, other = (
        Drift("node1", State.MISSING, "route", ip) for ip in ("10.0.0.0/8", "10.1.0.0/16")
    )
    looks = iter([(one, other), (one,)])
    assert lasting(lambda: next(looks), again=True) == (one,)
    assert lasting(lambda: (one, other), again=False) == (one, other)


def test_watching_tells_what_comes_and_goes() -> None:
    one = Drift("node1", State.MISSING, "route", "10.0.0.0/8")
    looks = iter([(), (one,), (one,), ()])
    over = iter([False, False, False, True])
    told = list(changes(lambda: next(looks), lambda: next(over)))
    assert told == [("+", one), ("-", one)]
