"""A logged packet gets its names; the list and the counts stay within bounds."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from proxy.linux import nflog
from proxy.linux.netlink import attribute, pack_message
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.drops import counts
from proxy.policy.drops.counts import DropCounts, Place
from proxy.policy.drops.naming import Drop, End, name_drop
from proxy.policy.drops.packet import Flow, read_flow
from proxy.policy.drops.page import document
from proxy.policy.drops.table import DropTable
from proxy.policy.drops.watch import DropWatch, View, guards_of
from proxy.policy.index import PolicyIndex
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import Direction
from tests.support.proxy.policies import cluster_policy, namespace, pod, policy
from tests.support.proxy.told import Told

NODE = NodeView("n1", addresses=(ip_address("192.168.0.1"),))
WEB, DB, FAR = ("10.0.0.1", "fd00::1"), ("10.0.0.2", "fd00::2"), ("10.0.1.1", "fd00::11")


def v4(source: str, destination: str, number: int = 6, rest: bytes = b"", offset: int = 0) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20, 1, offset, 64, number, 0) + ends + rest


def v6(source: str, destination: str, number: int, rest: bytes) -> bytes:
    ends = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (source, destination))
    return struct.pack("!IHBB", 6 << 28, len(rest), number, 64) + ends + rest


def index() -> PolicyIndex:
    made = PolicyIndex()
    for one in (
        pod("web", "n1", *WEB, labels={"app": "web"}),
        pod("db", "n1", *DB),
        pod("far", "n2", *FAR, namespace="other"),
    ):
        value = parse_pod(convert(one, wire.Pod), "n1")
        assert value
        made.set_pod(value.key, value)
    for one in (policy("a", {"app": "web"}, ingress=[]), policy("b", {"app": "web"}, ingress=[])):
        value = parse_policy(convert(one, wire.NetworkPolicy), Complaints("policy"))
        assert value
        made.set_policy(value.key, value)
    made.take()
    return made


PORTS = struct.pack("!HH", 5, 80)
READ = {
    "TCP": (v4("10.0.0.1", "10.0.0.2", 6, PORTS), ("TCP", 80)),
    "UDP": (v4("10.0.0.1", "10.0.0.2", 17, PORTS), ("UDP", 80)),
    "SCTP": (v4("10.0.0.1", "10.0.0.2", 132, PORTS), ("SCTP", 80)),
    "ICMP": (v4("10.0.0.1", "10.0.0.2", 1, PORTS), ("ICMP", None)),
    "of no name": (v4("10.0.0.1", "10.0.0.2", 200), ("protocol 200", None)),
    "a later fragment": (v4("10.0.0.1", "10.0.0.2", 17, PORTS, 7), ("UDP", None)),
    "cut before its ports": (v4("10.0.0.1", "10.0.0.2", 6, b"\0"), ("TCP", None)),
    "IPv6": (v6("fd00::1", "fd00::2", 6, PORTS), ("TCP", 80)),
    "IPv6 behind options": (
        v6("fd00::1", "fd00::2", 0, bytes([60, 1]) + bytes(14) + bytes([17, 0]) + bytes(6) + PORTS),
        ("UDP", 80),
    ),
    "IPv6, a first fragment": (
        v6("fd00::1", "fd00::2", 44, bytes([6, 0, 0, 1, 0, 0, 0, 9]) + PORTS),
        ("TCP", 80),
    ),
    "IPv6, a later fragment": (
        v6("fd00::1", "fd00::2", 44, bytes([6, 0, 1, 0, 0, 0, 0, 9]) + PORTS),
        ("TCP", None),
    ),
    "ICMPv6": (v6("fd00::1", "fd00::2", 58, bytes(8)), ("ICMPv6", None)),
}


@pytest.mark.parametrize("row", READ)
def test_a_packet_is_read(row: str) -> None:
    data, (protocol, port) = READ[row]
    flow = read_flow(data)
    assert flow
    assert (flow.protocol, flow.port) == (protocol, port)
    assert str(flow.source) in WEB
    assert str(flow.destination) in DB


@given(st.binary(max_size=200))
def test_any_bytes_may_be_logged(data: bytes) -> None:
    for first in (b"", b"\x45", b"\x60"):
        read_flow(first + data)


@given(st.binary(max_size=200))
def test_any_message_may_come(data: bytes) -> None:
    body = b"\2\0\0\x57" + data
    try:
        list(nflog.packets(pack_message(0x400, 0, body)))
        list(nflog.packets(data))
    except OSError as err:
        assert "attribute" in str(err)


def test_messages_hold_packets() -> None:
    def logged(payload: bytes) -> bytes:
        parts = attribute(9, payload) + attribute(10, b"dropped-ingress\0")
        return pack_message(0x400, 0, b"\2\0\0\x57" + parts)

    data = logged(b"one") + pack_message(0x401, 0, b"") + logged(b"other")
    assert list(nflog.packets(data)) == [
        ("dropped-ingress", b"one"),
        ("dropped-ingress", b"other"),
    ]


def flow(source: str, destination: str) -> Flow:
    return Flow(ip_address(source), ip_address(destination), "TCP", 80)


NAMED = {
    "to a Pod": (
        ("dropped-ingress", flow(DB[0], WEB[0])),
        (Direction.INGRESS, "ns/web", "ns/db", (("ns", "a"), ("ns", "b"))),
    ),
    "from another node": (
        ("dropped-ingress", flow(FAR[1], WEB[1])),
        (Direction.INGRESS, "ns/web", "other/far", (("ns", "a"), ("ns", "b"))),
    ),
    "from the node": (
        ("dropped-ingress", flow("192.168.0.1", WEB[0])),
        (Direction.INGRESS, "ns/web", "node n1", (("ns", "a"), ("ns", "b"))),
    ),
    "from a Pod": (
        ("dropped-egress", flow(WEB[0], "192.0.2.1")),
        (Direction.EGRESS, "ns/web", "192.0.2.1", ()),
    ),
    "from nobody": (
        ("unknown-from", flow("10.0.0.9", WEB[0])),
        (Direction.EGRESS, "10.0.0.9", "ns/web", ()),
    ),
    "to nobody": (
        ("unknown-to", flow(WEB[0], "10.0.0.9")),
        (Direction.INGRESS, "10.0.0.9", "ns/web", ()),
    ),
}


@pytest.mark.parametrize("row", NAMED)
def test_a_drop_has_names(row: str) -> None:
    given, named = NAMED[row]
    drop = name_drop(index(), NODE, *given)
    assert drop
    assert (drop.direction, str(drop.guarded), str(drop.peer), drop.policies) == named


DENIALS = {
    "by a rule with a name": (
        ("denied-ingress", flow(DB[0], WEB[0])),
        ("late",),
        "ingress rule 0 (no ns) of ClusterNetworkPolicy late denies it",
    ),
    "by the first that fits": (
        ("denied-egress", flow(WEB[0], "192.0.2.1")),
        ("late",),
        "egress rule 1 of ClusterNetworkPolicy late denies it",
    ),
    "by one that has changed since": (
        ("denied-ingress", flow("192.0.2.1", WEB[0])),
        ("soon", "late"),
        "ingress rules of ClusterNetworkPolicy soon, late denied it",
    ),
}


@pytest.mark.parametrize("row", DENIALS)
def test_a_denial_has_names(row: str) -> None:
    given, policies, reason = DENIALS[row]
    mine, others = ({"namespaces": {"matchLabels": {"team": one}}} for one in "ab")
    made = index()
    made.set_namespace("ns", parse_namespace(convert(namespace("ns", team="a"), wire.Namespace)))
    deny = {"action": "Deny", "from": [mine], "name": "no ns"}
    soon = cluster_policy("soon", priority=1, ingress=[deny | {"from": [others]}])
    out = [{"action": "Accept", "to": [others]}, {"action": "Deny", "to": [NETWORK]}]
    late = cluster_policy("late", priority=2, ingress=[deny], egress=out)
    for one in (soon, late):
        value = parse_cluster_policy(convert(one, wire.ClusterNetworkPolicy), Complaints("policy"))
        made.set_cluster_policy(one["metadata"]["name"], value)
    drop = name_drop(made, NODE, *given)
    assert drop
    assert (tuple(name for _, name in drop.policies), drop.reason) == (policies, reason)
    place = Place(drop.direction, drop.guarded.address, by_rule=True)
    counted = ["late"] if drop.direction is Direction.EGRESS else ["soon", "late"]
    assert [name for _, name in guards_of(made, place)] == counted


NETWORK = {"networks": ["0.0.0.0/0"]}


def test_another_programs_log_is_no_drop() -> None:
    assert name_drop(index(), NODE, "other", flow(DB[0], WEB[0])) is None


def drop(port: int) -> Drop:
    ends = (End(ip_address(WEB[0]), ("ns", "web")), End(ip_address(DB[0]), ("ns", "db")))
    return Drop(Direction.INGRESS, *ends, (("ns", "a"),), "TCP", port)


def test_the_list_has_bounds_and_tells_what_is_new() -> None:
    table = DropTable(3)
    for port in (1, 2, 3, 1, 4):
        table.add(drop(port), 0.0)
    assert [(row.drop.port, row.packets) for row in table.since(0)] == [(4, 1), (1, 2), (3, 1)]
    assert [row.drop.port for row in table.since(3)] == [4, 1]
    assert list(table.since(5)) == []


def test_counts_grow_whatever_the_kernel_forgets() -> None:
    made, web = DropCounts(), Place(Direction.INGRESS, ip_address(WEB[0]))
    unknown = Place(Direction.EGRESS, Family.V4)

    def guards(*_: object) -> tuple[tuple[str, str], ...]:
        return (("ns", "a"), ("ns", "b"))

    made.take({web: 3, unknown: 1}, guards)
    made.take({web: 5, unknown: 1}, guards)
    made.take({web: 1, unknown: 1}, guards)  # the element was made anew
    made.begin_anew()
    made.take({web: 1, unknown: 2}, guards)
    assert made.sums() == {("ingress", "ns", "a,b"): 7, ("egress", "", ""): 3}
    line = 'kubeproxy_network_policy_dropped_packets_total{direction="ingress",namespace="ns",'
    assert f'{line}policy="a,b"}} 7\n' in made.text()


@pytest.fixture
async def watch() -> AsyncIterator[DropWatch]:
    made, told = DropWatch(), Told()
    async with made.watching(View(index(), lambda: NODE, lambda: ProxySettings()), told):
        yield made


def reader(*found: int) -> Callable[[object], dict[Place, int]]:
    """Return what reads these counts of the kernel's, one after the other."""
    left = iter(found)
    return lambda _: {Place(Direction.EGRESS, Family.V4): next(left)}


async def test_a_reading_that_takes_long_is_not_taken_for_a_new_table(
    watch: DropWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was: it had less than the one that began later, and all of it counted again."""
    begun, may_end, quick = threading.Event(), threading.Event(), reader(5, 6)

    def read(families: object) -> dict[Place, int]:
        found = quick(families)
        if not begun.is_set():
            begun.set()
            may_end.wait()
        return found

    monkeypatch.setattr(counts, "read", read)
    first = asyncio.create_task(watch.read_counts())
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(watch.read_counts())
    await asyncio.wait({second}, timeout=0.1)  # it would end now
    may_end.set()
    await asyncio.gather(first, second)
    assert watch.counts.sums() == {("egress", "", ""): 6}


@pytest.mark.parametrize(("is_refused", "total"), [(True, 7), (False, 12)])
async def test_counts_go_on_in_tables_that_the_kernel_does_not_renew(
    watch: DropWatch, monkeypatch: pytest.MonkeyPatch, *, is_refused: bool, total: int
) -> None:
    monkeypatch.setattr(counts, "read", reader(5, 7))
    await watch.read_counts()
    with suppress(KernelRefusedError):
        async with watch.renewing():
            if is_refused:
                raise KernelRefusedError("no")
    await watch.read_counts()
    assert watch.counts.sums() == {("egress", "", ""): total}


async def test_a_drop_is_reported_once_and_ends_the_wait() -> None:
    watch, told = DropWatch(), Told()
    view = View(index(), lambda: NODE, lambda: ProxySettings(families=()))
    async with watch.watching(view, told):
        waiting = asyncio.create_task(watch.wait(0, 600))
        await asyncio.sleep(0)
        packet = nflog.LoggedPacket("dropped-ingress", v4(DB[0], WEB[0], 6, PORTS))
        watch.take([packet, packet], view, told)
        await waiting
        await watch.wait(1, 600)  # there is more already
    await watch.wait(2, 600)  # nobody watches any more
    says = "TCP from ns/db to port 80: no ingress rule of ns/a, ns/b admits it"
    assert told.pods == [(("ns", "web"), "web", "NetworkPolicyDrop", says)]
    [row] = document(watch, "n1", watch.table.since(0))["drops"]
    assert (row["pod"], row["peer"], row["port"], row["packets"]) == ("ns/web", "ns/db", 80, 2)
