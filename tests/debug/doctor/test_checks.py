"""Each check over a healthy cluster, and over one with its fault: pure."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from debug.doctor.examine import examine, exit_code
from debug.doctor.show import lines
from debug.doctor.table import CHECKS
from debug.kernel.values import Address, Forwarding, Route
from debug.model import Level
from debug.snapshot import Snapshot
from tests.support.debug.healthy import (
    HEALTHY,
    node,
    space,
    with_machine,
    with_node,
    with_objects,
    with_settings,
)

SPACE = space(1)


def ruleset(*objects: dict[str, Any]) -> str:
    return json.dumps(
        {"nftables": [{"table": {"family": "ip", "name": "podwire-proxy"}}, *objects]}
    )


def chain(hook: str, policy: str = "accept", *rules: list[Any]) -> list[dict[str, Any]]:
    place = {"family": "inet", "table": "other"}
    base = {**place, "name": hook, "hook": hook, "type": "filter", "prio": 0, "policy": policy}
    return [{"chain": base}, *({"rule": {**place, "chain": hook, "expr": one}} for one in rules)]


def to_port(number: int) -> dict[str, Any]:
    left = {"payload": {"protocol": "udp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": number}}


def without_link(name: str, **other: Any) -> Snapshot:
    return with_node(
        links=tuple(replace(one, **other) if one.name == name else one for one in SPACE.links)
    )


FAULTS: list[tuple[str, Level, Snapshot]] = [
    (
        "duplicate-node-ip",
        Level.FAIL,
        with_objects(nodes=(node(1), replace(node(2), status=node(1).status))),
    ),
    ("duplicate-node-ip", Level.FAIL, with_node(addresses=SPACE.addresses[1:])),
    ("duplicate-cidr", Level.FAIL, with_objects(nodes=(node(1), node(2, podCIDR="10.244.0.0/16")))),
    ("mtu", Level.FAIL, without_link("eth0", mtu=1400)),
    ("mtu", Level.FAIL, without_link("podwire-vxlan", mtu=1500)),
    ("mtu", Level.FAIL, without_link("podwire0", mtu=9000)),
    ("forwarding", Level.FAIL, with_settings(net__ipv4__ip_forward="0")),
    ("routes", Level.FAIL, with_node(routes=SPACE.routes[:2])),
    (
        "foreign-route",
        Level.FAIL,
        with_node(routes=(*SPACE.routes, Route("10.244.2.128/25", link=2, gateway="172.31.0.9"))),
    ),
    (
        "foreign-route",
        Level.FAIL,
        with_node(routes=(*SPACE.routes, Route("10.244.2.2/32", kind="blackhole"))),
    ),
    ("tunnel", Level.FAIL, with_node(forwarding=())),
    (
        "tunnel",
        Level.FAIL,
        with_node(forwarding=(*SPACE.forwarding, Forwarding(3, "02:00:00:00:00:99", "172.31.0.9"))),
    ),
    ("tunnel", Level.FAIL, with_node(neighbors=())),
    ("tunnel", Level.FAIL, without_link("podwire-vxlan", up=False)),
    (
        "overlay-port",
        Level.FAIL,
        with_machine(nft=ruleset(*chain("input", "accept", [to_port(4789), {"drop": None}]))),
    ),
    ("overlay-port", Level.FAIL, with_machine(nft=ruleset(*chain("input", "drop")))),
    ("rp-filter", Level.FAIL, with_settings(**{"net__ipv4__conf__podwire-vxlan__rp_filter": "1"})),
    ("neighbor-table", Level.FAIL, with_settings(net__ipv4__neigh__default__gc_thresh3="0")),
    (
        "ipv6-dad",
        Level.WARN,
        with_node(addresses=(*SPACE.addresses, Address(4, "fd00::1/64", tentative=True))),
    ),
    (
        "ipv6-dad",
        Level.FAIL,
        with_node(addresses=(*SPACE.addresses, Address(4, "fd00::1/64", duplicate=True))),
    ),
]


def test_a_healthy_cluster_is_well() -> None:
    findings = examine(HEALTHY)
    assert {(one.check, one.summary) for one in findings if one.level is not Level.OK} == set()
    assert {one.check for one in findings} >= set(CHECKS)
    assert exit_code(findings) == 0


@pytest.mark.parametrize(("check", "level", "snapshot"), FAULTS, ids=[one[0] for one in FAULTS])
def test_a_fault_is_named(check: str, level: Level, snapshot: Snapshot) -> None:
    findings = [one for one in examine(snapshot) if one.level in (Level.WARN, Level.FAIL)]
    named = [one for one in findings if one.check == check]
    assert named, findings
    assert {one.level for one in named} == {level}
    for one in named:
        assert one.evidence and one.cause and one.consequence and one.fix and one.about
        assert one.link == f"docs/debug/faults.md#{check}"
    assert exit_code(findings) == (2 if level is Level.FAIL else 1)


def test_one_nodes_findings_are_of_that_node() -> None:
    found = examine(with_node(routes=SPACE.routes[:2]), "node2")
    assert {one.node for one in found} == {"node2", ""}
    assert exit_code(found) == 0


def test_what_was_not_read_is_unknown() -> None:
    found = examine(replace(HEALTHY, cluster=None, machines=()))
    assert {one.level for one in found} <= {Level.OK, Level.UNKNOWN}
    assert any(one.check == "routes" and one.level is Level.UNKNOWN for one in found)


def test_findings_are_told_with_their_evidence() -> None:
    text = "\n".join(lines(examine(with_settings(net__ipv4__ip_forward="0"))))
    for part in ("✗ fail", "forwarding on node1", "read: ", "fix: sysctl -w net.ipv4.ip_forward=1"):
        assert part in text
    assert "✓ ok: duplicate-node-ip" in text


def test_findings_are_json() -> None:
    found = json.loads(msgspec.json.encode(examine(with_settings(net__ipv4__ip_forward="0"))))
    assert {"check": "forwarding", "level": "fail", "node": "node1"}.items() <= next(
        one.items() for one in found if one["level"] == "fail"
    )
