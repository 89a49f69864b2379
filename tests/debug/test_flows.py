"""Flows of several nodes, of which one has stopped meanwhile."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from debug.again import Again
from debug.drops import counters
from debug.flows import cli, watch
from debug.flows.naming import FlowFilter, FlowNames
from debug.places import Ground, Place
from proxy.model.values import Family
from tests.support.views import STATE

GONE = Place("n1", 1, "/gone")
WHY = "Node n1 cannot be read: Node n1: its network is gone (No such file or directory)"


def test_a_node_that_is_gone_is_named_and_others_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Place("n2", 1, "/proc/thread-self/ns/net")
    monkeypatch.setattr(watch, "table", lambda: iter(()))
    for places, code in (((GONE, there), 0), ((GONE,), 1)):
        monkeypatch.setattr(cli, "ground", lambda *_, places=places: Ground(places))
        ended = CliRunner().invoke(cli.main, [])
        assert (ended.exit_code, WHY in ended.output) == (code, True), ended.output
        assert ("no flow is tracked" in ended.output) == (code == 0)


def test_following_ends_if_nobody_can_be_listened_to() -> None:
    again = Again(lambda: Ground((GONE,)))
    assert list(watch.follow(again, lambda: FlowNames(STATE), FlowFilter())) == [WHY]


def test_a_comment_makes_no_rule_a_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        r'[1:60] -A FORWARD -m comment --comment "a \" -j DROP" -j ACCEPT',
        r'[2:60] -A FORWARD -p udp -m comment --comment "no [9:9] -A X" -j DROP',
        r"[3:60] -A INPUT -j REJECT --reject-with icmp-port-unreachable",
    )
    tool = SimpleNamespace(family=Family.V4, save=lambda **_: "\n".join(rows))
    monkeypatch.setattr(counters, "in_use", lambda *_: True)
    found = [(packets, said) for _, packets, said in counters._legacy(tool)]
    assert found == [(2, "drops: no [9:9] -A X"), (3, "rejects")]
