"""The prediction beside a packet's steps: together as long as they agree, then in turns."""

from debug.trace.model import Comparison, Hop, PacketTrace, Row, Step, Trace
from debug.web.ghost import Parting, Predicted, Seen, Slot, Wanted, comparison_of, slots
from debug.web.lanes import svg

OUT, IN = Step("out", link="eth0"), Step("in", link="eth0")
RULE = Step("rule", family="ip", table="nat", chain="c", handle=7, verdict="accept")
PASSED = Step("rule", family="ip", table="nat", chain="c", handle=8, verdict="jump", target="d")
PACKET = PacketTrace(
    *(1, "forward", "UDP", "arrived", "Pod b"),
    hops=(
        Hop("n", "Pod a", steps=(OUT,)),
        Hop("n", "Node n", steps=(IN, PASSED, RULE)),
        Hop("n", "Pod b", steps=(IN,)),
    ),
)
FACTS = ("Pod a", "Node n", "ip nat c #7 → accept", "Pod b", "delivered at Pod b")


def beside(*predicted: str) -> list[Slot]:
    """What is drawn of the packet beside these facts."""
    pairs = zip(predicted, FACTS + ("",) * len(predicted), strict=False)
    rows = tuple(Row(left, right) for left, right in pairs)
    agrees = all(row.predicted == row.observed for row in rows)
    return list(slots(PACKET, Comparison("forward", 1.0, agrees, rows)))


def test_an_agreed_way_has_all_its_facts_at_steps() -> None:
    shown = beside(*FACTS)
    assert [one.step for one in shown if isinstance(one, Seen)] == [OUT, IN, RULE, IN]
    assert all(isinstance(one, Seen) and one.predicted for one in shown)


def test_facts_that_are_no_step_are_passed_over() -> None:
    facts = (*FACTS[:2], "policies admit it", *FACTS[2:])
    found = Comparison("forward", 1.0, True, tuple(Row(one, one) for one in facts))
    shown = [one for one in slots(PACKET, found) if isinstance(one, Seen)]
    assert [(one.step, one.predicted) for one in shown] == [
        *((OUT, True), (IN, True), (RULE, True), (IN, True))
    ]


def test_ways_that_part_take_turns_and_the_prediction_keeps_its_place() -> None:
    shown = beside("Pod a", "Node n", "ip nat c #9 → drop", "dropped at Node n")
    assert shown[2:] == [
        Parting("Node n", "ip nat c #9 → drop", "ip nat c #7 → accept"),
        Predicted("Node n", "ip nat c #9 → drop"),
        Seen(PACKET.hops[1], RULE),
        Predicted("Node n", "dropped at Node n"),
        Seen(PACKET.hops[2], IN),
    ]
    assert [one.predicted for one in shown[:2] if isinstance(one, Seen)] == [True, True]


def test_ways_that_never_were_together_part_at_once() -> None:
    shown = beside("Node x", "unknown at Node x")
    assert shown[0] == Parting("", "Node x", "Pod a")
    assert [one.place for one in shown if isinstance(one, Predicted)] == ["Node x", "Node x"]
    assert "Here the ways part" in svg(compared(Row("Node x", "Pod a")))


def test_a_prediction_of_a_packet_that_was_seen_nowhere_is_drawn() -> None:
    unseen = PacketTrace(1, "forward", "UDP", "unknown")
    drawn = svg(Trace("a", "b", "", (unseen,), comparisons=compared(Row("Pod a", "")).comparisons))
    assert "Predicted only: Pod a: Pod a" in drawn and "Seen: nothing more" in drawn


def test_what_the_objects_want_is_said_where_it_is_something_else() -> None:
    rows = (*(Row(one, one) for one in FACTS[:4]), Row("", "", "policies refuse it", parts=True))
    found = Comparison("forward", 1.0, True, rows, as_wanted=False)
    assert list(slots(PACKET, found))[-1] == Wanted("Pod b", "policies refuse it")
    drawn = svg(Trace("a", "b", "", (PACKET,), comparisons=(found,)))
    assert "The API's objects want something else: Pod b: policies refuse it" in drawn
    assert "It did not go as the API's objects want" in drawn


def test_only_the_compared_packet_has_a_prediction() -> None:
    answers = [PacketTrace(1, "reply", "RST", "dropped"), PacketTrace(1, "reply", "UDP")]
    found = Comparison("reply", 1.0, agrees=True, rows=())
    trace = Trace("a", "b", "", (PACKET, *answers), comparisons=(found,))
    assert [comparison_of(trace, one) for one in trace.packets] == [None, None, found]


def test_rules_that_pass_on_are_there_when_every_one_is_asked_for() -> None:
    shown = list(slots(PACKET, None, every=True))
    assert [one.step for one in shown if isinstance(one, Seen)] == [OUT, IN, PASSED, RULE, IN]
    assert len(list(slots(PACKET, None))) == 3, "nor is one that only accepts"


def test_the_picture_fits_a_narrow_page_with_each_place_by_name() -> None:
    trace = compared(Row("Pod a", "Pod a"), Row("Node x", "Node n"))
    assert 'width="336"' in svg(trace, narrow=True) and ">Node x<" in svg(trace, narrow=True)
    assert 'width="1344"' in svg(trace)


def compared(*rows: Row) -> Trace:
    """A trace of the packet with these rows."""
    return Trace("a", "b", "", (PACKET,), comparisons=(Comparison("forward", 1.0, False, rows),))
