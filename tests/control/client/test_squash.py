"""Repeated Events are counted, combined and limited, as in client-go."""

from control.api.service import ObjectReference
from control.client.squash import EventNote, Squasher

POD = ObjectReference(kind="Pod", namespace="n", name="web", uid="u")


def note(message="m", about=POD):
    return EventNote(about, "Warning", "Failed", message)


def test_a_repeat_raises_the_count_of_the_same_event():
    squasher = Squasher()
    first = squasher.observe(note(), 100.0)
    again = squasher.observe(note(), 160.0)
    assert (first.count, again.count, again.name) == (1, 2, first.name)
    assert (again.first, again.last) == (100.0, 160.0)


def test_another_message_is_another_event():
    squasher = Squasher()
    one, two = squasher.observe(note("a"), 1.0), squasher.observe(note("b"), 2.0)
    assert one.name != two.name and two.count == 1


def test_ten_different_messages_become_one():
    squasher = Squasher()
    reports = [squasher.observe(note(f"m{i}"), float(i)) for i in range(12)]
    assert len({report.name for report in reports}) == 10
    assert reports[-1].note.message == "(combined from similar events): m11"
    assert reports[-1].count == 3
    later = squasher.observe(note("m99"), 1000.0)
    assert later.note.message == "m99"


def test_the_rate_limit_is_for_each_object():
    squasher = Squasher()
    sent = [squasher.observe(note(), i * 0.01) for i in range(40)]
    assert sum(report is not None for report in sent) == 25
    other = ObjectReference(kind="Pod", namespace="n", name="other", uid="v")
    assert squasher.observe(note(about=other), 1.0) is not None
    assert squasher.observe(note(), 301.0) is not None  # one more after five minutes
    assert squasher.observe(note(), 302.0) is None


def test_a_failed_event_is_created_at_its_next_repeat():
    squasher = Squasher()
    squasher.forget(squasher.observe(note(), 1.0))
    assert squasher.observe(note(), 2.0).count == 1
