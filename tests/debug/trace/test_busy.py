"""A node where more comes than anybody reads: nothing waits, and nothing grows, for ever."""

from types import SimpleNamespace

import pytest

from debug.places import Place
from debug.trace import run
from debug.trace.packet import Flow
from debug.trace.probe import Probe
from debug.trace.watch import drops
from debug.trace.watch.connections import Connection
from debug.trace.watch.nftrace import NftTracer
from debug.trace.watch.spaces import Seen
from debug.trace.watch.taps import MOST_AT_ONCE, Tap

NODE = Place("n1", 1, "/node")
FLOW = Flow("tcp", "10.1.1.2", "10.1.2.2", 4000, 80)
ENDLESS = SimpleNamespace(
    recv=lambda _: b"", recvmsg=lambda *_: (b"", [], 0, ("eth0", 0, 0)), close=lambda: None
)


@pytest.mark.parametrize("kind", [Tap, NftTracer])
def test_a_listener_reads_so_much_and_lets_others_have_their_turn(kind: type) -> None:
    listener = kind.__new__(kind)
    listener._socket = ENDLESS
    assert len(listener.read()) == (MOST_AT_ONCE if kind is Tap else 0)


def test_a_trace_ends_though_others_connect_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_RUSH", 0.0)
    others = [Seen(NODE, Connection(FLOW, FLOW.reverse))]
    watch = SimpleNamespace(read=lambda _: others)
    found = run.Observed(Probe(FLOW, 0x20000000), NODE, 0)
    run._Conversation(found, watch, SimpleNamespace(), "t").follow(0.0)
    assert found.unseen == ["what came last: events come faster here than they are read"]


def test_a_link_whose_name_is_no_text_does_not_end_the_trace() -> None:
    answers = iter([UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), BlockingIOError()])

    def receive(*_: int) -> None:
        raise next(answers)

    tap = Tap.__new__(Tap)
    tap._socket = SimpleNamespace(recvmsg=receive)
    assert tap.read() == []


def test_a_drop_is_in_the_function_that_starts_before_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of drops ask for it, among some hundred thousand functions."""
    monkeypatch.setattr(drops, "_functions", lambda: ([16, 32, 48], ["a", "b", "c"]))
    found = [drops.function_at(at) for at in (15, 16, 31, 32, 47, 48, 99)]
    assert found == ["", "a", "a", "b", "b", "c", "c"]
    monkeypatch.setattr(drops, "_functions", lambda: ([], []))
    assert drops.function_at(16) == ""
