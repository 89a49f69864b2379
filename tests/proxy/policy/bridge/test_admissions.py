"""The maps of programs admit what the rules admit, and never more, also while they are written."""

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ebpf import policy as maps
from proxy.backends.ebpf.layout import pack_address
from proxy.model.values import PROTOCOL_NUMBERS, Protocol
from proxy.policy.bridge.admissions import AdmissionTable
from proxy.policy.bridge.rules import BridgeRules
from proxy.policy.index import PolicyIndex
from proxy.policy.values import Direction, PortName
from tests.support.proxy.cluster_table import CLUSTER_TABLE
from tests.support.proxy.evaluate import Cluster, Packet, evaluate
from tests.support.proxy.policy_index import cluster, index, packet, parsed, place
from tests.support.proxy.policy_table import PODS, TABLE, random_policy

NAMES = [one["metadata"]["name"] for one in PODS]
PORTS = (80, 81, 8080, 9001)


class Programs:
    """Looks entries up as bpf/policy.h does."""

    def __init__(self) -> None:
        self.entries: dict[maps.AdmissionKey, bytes] = {}

    def admits(self, one: Packet) -> bool:
        """See ``is_admitted``."""
        ends = [self._post(address) for address in (one.source, one.destination)]
        if None in ends or one.protocol is None:
            return False
        (egress, egress_always, _, _), (_, _, ingress, ingress_always) = ends
        return self._lets(egress, egress_always, one, one.destination) and self._lets(
            ingress, ingress_always, one, one.source
        )

    def _post(self, address) -> tuple[int, ...] | None:
        found = self.entries.get(maps.AdmissionKey(maps.POSTS, pack_address(address)))
        return found and struct.unpack("=4I", found)

    def _lets(self, profile: int, always: int, one: Packet, peer) -> bool:
        if self._is_in(always, peer):
            return True
        door = struct.pack("!IBxH", profile, PROTOCOL_NUMBERS[one.protocol], one.port)
        group = self._longest(maps.DOORS, door)
        return (
            bool(profile) and group is not None and self._is_in(*struct.unpack("=I", group), peer)
        )

    def _is_in(self, group: int, peer) -> bool:
        if group in (maps.NOBODY, maps.EVERYBODY):
            return bool(group)
        block = struct.pack("!I", group) + pack_address(peer)
        return (
            maps.pack_peer(group, peer) in self.entries
            or self._longest(maps.BLOCKS, block) is not None
        )

    def _longest(self, store: str, sought: bytes) -> bytes | None:
        """Look up in a trie."""
        number, size = int.from_bytes(sought, "big"), len(sought) * 8
        found = {}
        for (at, key), value in self.entries.items():
            bits = struct.unpack("=I", key[:4])[0]
            if (
                at == store
                and int.from_bytes(key[4:], "big") >> size - bits == number >> size - bits
            ):
                found[bits] = value
        return found[max(found)] if found else None


def filled(made: PolicyIndex) -> Programs:
    programs = Programs()
    programs.entries |= AdmissionTable(made).restart(made.everything())
    return programs


def has_names(world: Cluster) -> bool:
    """Whether a rule of egress names a port: such flows are left to the rules."""
    rules = (rule for one in world.policies for rule in one.rules.get(Direction.EGRESS, ()))
    return any(isinstance(port, PortName) for rule in rules for port in rule.ports or ())


@pytest.mark.parametrize("row", [*TABLE, *CLUSTER_TABLE])
def test_the_table(row: str) -> None:
    policies, good, bad = TABLE.get(row) or CLUSTER_TABLE[row]
    world = cluster(policies)
    programs = filled(index(world))
    whole = not has_names(world) and not world.cluster_policies
    for text in (*good.split(), *bad.split()):
        one = packet(text)[1]
        ours = {address for pod in world.pods for address in pod.addresses}
        fate = evaluate(world, one).passes
        admitted = programs.admits(one)
        assert fate or not admitted, text
        if whole and one.protocol and {one.source, one.destination} <= ours:
            assert admitted or not fate or one.source == one.destination, text


def flows() -> list[Packet]:
    found = []
    for source in NAMES:
        for destination in NAMES:
            if source != destination:
                ends = place(source), place(destination)
                found += [Packet(*ends, port, Protocol.TCP) for port in PORTS]
    return found


@pytest.mark.parametrize("seed", (2, 5, 7, 11))
def test_changes_never_admit_more_than_the_rules(seed: int) -> None:
    """Between the entries that go and those that come, both states' rules admit what they admit."""
    dice = random.Random(seed)
    world = cluster([random_policy(dice, number) for number in range(4)])
    made, programs = index(world), Programs()
    table = AdmissionTable(made)
    programs.entries |= table.restart(made.everything())
    policies = {one.key: one for one in world.policies}
    for number in range(6):
        before = {str(one): programs.admits(one) for one in flows()}
        if number % 2:
            gone = dice.choice([*policies])
            del policies[gone]
            made.set_policy(gone, None)
        else:
            for new in parsed([random_policy(dice, 10 + number)]):
                policies[new.key] = new
                made.set_policy(new.key, new)
        change = table.advance(made.take())
        for at in change.gone:
            del programs.entries[at]
        now = Cluster(world.pods, world.namespaces, [*policies.values()], world.nodes)
        for one in flows():
            between = programs.admits(one)
            assert not between or (before[str(one)] and evaluate(now, one).passes)
        programs.entries |= change.put
        anew = filled(made)
        assert len(programs.entries) == len(anew.entries)
        assert [one for one in flows() if programs.admits(one) != anew.admits(one)] == []


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(Protocol))
def test_ranges_of_ports_become_prefixes(one: int, other: int, protocol: Protocol) -> None:
    first, last = sorted((one, other))
    spans = []
    for at, size in maps.pack_doors(7, protocol, first, last):
        bits, profile = struct.unpack("=I", at.key[:4])[0], struct.unpack("!I", at.key[4:8])[0]
        number, port = struct.unpack("!BxH", at.key[8:])
        assert (profile, number, 1 << 64 - bits) == (7, PROTOCOL_NUMBERS[protocol], size)
        assert port % size == 0
        spans.append((port, port + size - 1))
    assert (spans[0][0], spans[-1][1]) == (first, last)
    assert all(here[1] + 1 == there[0] for here, there in pairwise(spans))


def test_a_port_that_comes_is_one_element() -> None:
    rules = BridgeRules()
    assert "element bridge podwire-policy guarded { 3, 5 }\n" in rules.restart(
        frozenset({3, 5}), frozenset()
    )
    assert rules.advance(frozenset({5, 6}), frozenset({9})) == (
        "delete element bridge podwire-policy guarded { 3 }\n"
        "add element bridge podwire-policy guarded { 6 }\n"
        "add element bridge podwire-policy foreign { 9 }\n"
    )
    assert rules.advance(frozenset({5, 6}), frozenset({9})) == ""
