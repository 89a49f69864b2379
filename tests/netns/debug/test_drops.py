"""Counters of drops: what a node dropped is in them, with what it was."""

import os
import socket
from collections.abc import Callable

import pytest

from debug.cluster import ClusterState, Names
from debug.drops.cli import table
from debug.drops.counters import DropCount, backlog, grown, read
from debug.drops.reasons import ReasonCounter
from debug.places import Place, inside
from tests.support.space import Space

pytestmark = pytest.mark.netns
RULES = """table inet guard { chain out { type filter hook output priority 0;
  udp dport 9 counter drop comment "discard, says the class"
}
}"""


def send(*ports: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for port in ports:
            try:
                one.sendto(b"?", ("127.0.0.1", port))
            except PermissionError:  # what a rule drops on its way out is refused
                continue
            except ConnectionRefusedError:  # of the datagram before
                continue


def test_what_is_dropped_is_counted_with_its_reason(spaces: Callable[[str], Space]) -> None:
    node = spaces("node")
    node.run("nft", "-f", "-", stdin=RULES)
    chain = ("-A", "OUTPUT", "-p", "udp", "--dport", "10", "-m", "comment", "--comment", "no ten")
    for tool in ("iptables-nft", "iptables-legacy"):
        node.run(tool, *chain, "-j", "DROP")
        chain = tuple(word.replace("10", "11") for word in chain)
    here = Place("n1", os.getpid(), str(node.path))
    before = inside(here, lambda: list(read("n1")))
    inside(here, lambda: send(9, 9, 10, 11, 12))
    more = list(grown(before, inside(here, lambda: list(read("n1")))))
    rules = {(one.packets, one.meaning) for one in more if one.source == "rule"}
    assert rules == {(2, "drops: discard, says the class"), (1, "drops: no ten")}
    assert sum(one.source == "rule" for one in more) == 3, "nftables, iptables-nft and legacy"
    assert ("Udp/NoPorts", 1) in {(one.what, one.packets) for one in more}
    assert "Udp/NoPorts" in table(more)


def test_the_kernels_reasons_are_heard(spaces: Callable[[str], Space]) -> None:
    node, other = spaces("node"), spaces("other")
    node.run("nft", "-f", "-", stdin=RULES)
    here, there = (Place("n1", os.getpid(), str(one.path)) for one in (node, other))
    counter = ReasonCounter(lambda: [here], Names(ClusterState()))
    try:
        inside(here, lambda: send(9))
        inside(there, lambda: send(12))  # of no namespace that was asked for
        found = [*counter.take()]
    finally:
        counter.close()
    (one,) = (one for one in found if one.what.startswith("NETFILTER_DROP"))
    assert (one.node, one.source, one.packets) == ("n1", "kernel", 1)
    assert one.meaning == "UDP 127.0.0.1 → 127.0.0.1 port 9"
    assert not any("port 12" in one.meaning for one in found)


def test_drops_beyond_the_rings_room_are_counted(spaces: Callable[[str], Space]) -> None:
    node = spaces("node")
    node.run("nft", "-f", "-", stdin=RULES)
    here = Place("n1", os.getpid(), str(node.path))
    counter = ReasonCounter(lambda: [here], Names(ClusterState()))
    try:
        assert counter.lost() == 0
        inside(here, lambda: send(*[9] * 3000))
        lost = counter.lost()
        told = sum(one.packets for one in counter.take() if one.what.startswith("NETFILTER_DROP"))
        assert lost > 0 and told + lost >= 3000, "the whole machine is heard"
        assert counter.lost() == 0, "it was told"
    finally:
        counter.close()


def test_growth_is_told_and_a_counter_may_begin_anew() -> None:
    def count(what: str, packets: int) -> DropCount:
        return DropCount("n1", "link", what, packets)

    found = grown([count("a", 5), count("b", 9), count("c", 3)], [count("a", 7), count("b", 2)])
    assert {(one.what, one.packets) for one in found} == {("a", 2), ("b", 2)}


def test_the_machines_backlog_is_summed(tmp_path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/softnet_stat").write_text("0001 0000000a 0\n0001 00000001 0\n")
    assert [one.packets for one in backlog(tmp_path)] == [11]
