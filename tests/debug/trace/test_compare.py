"""Where a packet leaves the way that was predicted for it."""

from debug.explain.result import Branch, Hop, RuleLine
from debug.trace import model
from debug.trace.commands import succeeded
from debug.trace.compare import compare
from debug.trace.text import lines

RULE = RuleLine("ip nat", "pick", "accept", 5)


def way(place: str, share: float, rule: RuleLine = RULE) -> Branch:
    hops = (Hop("Node n1", "prerouting", "", rules=(rule,)), Hop(place, "input", ""))
    return Branch(share, hops, end="delivered", at=place)


PREDICTED = Branch(
    1.0,
    (Hop("Pod default/a", "output", ""),),
    branches=(way("Pod default/b", 0.7), way("Pod default/c", 0.3)),
)


def seen(place: str, handle: int = 5, outcome: str = "arrived") -> model.PacketTrace:
    step = model.Step(
        "rule", family="ip", table="nat", chain="pick", handle=handle, verdict="accept"
    )
    hops = (
        model.Hop("n1", "Pod default/a"),
        model.Hop("n1", "Node n1", steps=(step,)),
        model.Hop("switch", "Node switch"),
        model.Hop("n2", place),
    )
    return model.PacketTrace(1, "forward", "TCP SYN", outcome, place, "", hops)


def test_of_all_ways_that_may_be_the_packet_took_one() -> None:
    (found,) = compare(PREDICTED, (seen("Pod default/c"),))
    assert found.agrees
    assert found.probability == 0.3


def test_the_first_difference_is_shown_on_both_sides() -> None:
    (found,) = compare(PREDICTED, (seen("Pod default/c", handle=6),))
    assert not found.agrees
    trace = model.Trace("a", "c", "", comparisons=(found,))
    text = "\n".join(lines(trace))
    assert "after 2 places and rules" in text
    first = next(line for line in text.splitlines() if "≠" in line)
    assert first.index("ip nat pick #5") < first.index("ip nat pick #6")


def test_a_packet_that_ends_early_leaves_the_way_there() -> None:
    (found,) = compare(PREDICTED, (seen("Node n1", outcome="dropped"),))
    assert not found.agrees
    assert found.rows[-1].observed == "dropped at Node n1"


def test_a_probe_that_was_seen_nowhere_has_not_succeeded() -> None:
    there, back = (
        model.PacketTrace(1, direction, "TCP", "arrived") for direction in ("forward", "reply")
    )
    trace = model.Trace("a", "b", "", (there, back))
    assert succeeded(trace)
    assert not succeeded(trace, 2)
