"""Which packet proves which finding: pure."""

import struct

import pytest

from debug.doctor.examine import examine
from debug.doctor.look import look_at
from debug.doctor.proof import Probe, plan
from debug.kernel.echo import checksum
from debug.model import Finding, Level
from debug.snapshot import Snapshot
from tests.support.debug.healthy import (
    HEALTHY,
    machine,
    ruleset,
    space,
    with_machine,
    with_node,
)

PEER = Probe(("default", "web-1"), "node1", "10.244.2.2", "Pod default/web-2")


def probe_of(snapshot: Snapshot, check: str) -> Probe | None:
    look = look_at(snapshot)
    found = next(one for one in examine(snapshot) if one.check == check and one.level is Level.FAIL)
    return plan(look, found)


def test_a_lost_route_is_proved_by_a_ping_between_pods() -> None:
    assert probe_of(with_node(routes=space(1).routes[:2]), "routes") == PEER


def test_a_black_hole_is_proved_by_the_longest_packet() -> None:
    links = tuple(one for one in space(1).links if one.name != "eth0")
    small = next(one for one in space(1).links if one.name == "eth0")
    changed = with_node(links=(*links, type(small)(2, "eth0", "veth", small.mac, 1400, up=True)))
    probe = probe_of(changed, "mtu-black-hole")
    assert probe and probe.size == 1450 - 28 and not probe.port


def test_a_service_is_proved_by_connections() -> None:
    hooks = [one for one in machine(1).objects if one[0] == "chain"]
    rules = ruleset(*({sort: one} for sort, one in hooks))
    probe = probe_of(with_machine(nft=rules), "rules-wiped")
    assert probe == Probe(("default", "web-1"), "node1", "10.96.0.7", "Service default/web", 80)


@pytest.mark.parametrize("about", ["", "Service default/none", "lease 10.244.1.9"])
def test_what_no_packet_proves_sends_none(about: str) -> None:
    finding = Finding("ipam-leak", Level.FAIL, "", "node1", about)
    assert plan(look_at(HEALTHY), finding) is None


def test_the_checksum_of_a_whole_packet_is_zero() -> None:
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    summed = struct.pack("!BBHHH", 8, 0, checksum(head + b"odd"), 7, 1)
    assert checksum(summed + b"odd") == 0
