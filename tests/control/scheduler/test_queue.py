"""The order of Pods: priority, age, back-off, and no busy loop."""

from hypothesis import given
from hypothesis import strategies as st

from control.scheduler.queue import SchedulingQueue, Tries
from tests.support.control.build import pod


def uid(name):
    return f"uid-{name}"


def test_priority_then_age():
    queue = SchedulingQueue()
    queue.put(pod("young", created="2026-01-02T00:00:00Z"))
    queue.put(pod("old", created="2026-01-01T00:00:00Z"))
    queue.put(pod("urgent", created="2026-01-03T00:00:00Z", priority=10))
    assert [queue.pop(0.0).metadata.name for _ in range(3)] == ["urgent", "old", "young"]
    assert queue.pop(0.0) is None


def test_a_failed_pod_is_parked_until_a_change_and_the_end_of_its_backoff():
    queue = SchedulingQueue(first=1, longest=10, patience=300)
    queue.put(pod("p"))
    queue.pop(100.0)
    queue.failed(uid("p"), 100.0, park=True)
    assert queue.pop(150.0) is None and queue.next_time(150.0) == 401.0
    queue.changed()
    assert queue.next_time(100.5) == 101.0
    assert queue.pop(100.5) is None
    assert queue.pop(101.0).metadata.name == "p"
    assert queue.tries(uid("p")) == Tries(2, 100.0)


def test_backoff_doubles_up_to_its_limit():
    queue, now, waits = SchedulingQueue(first=1, longest=10), 0.0, []
    queue.put(pod("p"))
    for _ in range(6):
        assert queue.pop(now) is not None
        queue.failed(uid("p"), now, park=False)
        waits.append(queue.next_time(now) - now)
        now = queue.next_time(now)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_change_during_the_try_is_not_missed():
    queue = SchedulingQueue(first=1)
    queue.put(pod("p"))
    queue.pop(0.0)
    queue.changed()
    queue.failed(uid("p"), 0.0, park=True)
    assert queue.next_time(0.0) == 1.0


def test_only_a_change_of_the_pod_that_may_help_wakes_it():
    queue = SchedulingQueue(first=1)
    queue.put(pod("p"))
    queue.pop(0.0)
    queue.failed(uid("p"), 0.0, park=True)
    queue.put(pod("p", labels={"status": "new"}))
    assert queue.pop(50.0) is None
    queue.put(pod("p", labels={"now": "fits"}), helped=True)
    assert queue.pop(50.0).metadata.labels == {"now": "fits"}


def test_a_removed_pod_is_not_tried():
    queue = SchedulingQueue()
    queue.put(pod("p"))
    queue.drop(uid("p"))
    assert queue.pop(0.0) is None and not len(queue) and queue.next_time(0.0) is None
    queue.failed(uid("p"), 0.0, park=True)
    queue.drop(uid("p"))


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "pop", "park", "retry", "change", "drop", "later"]),
        st.sampled_from("abc"),
    ),
    max_size=40,
)


@given(steps)
def test_no_pod_is_forgotten_or_tried_twice_at_once(story):
    queue, now, trying = SchedulingQueue(first=1, longest=4, patience=20), 0.0, set()
    known: set[str] = set()
    for verb, name in story:
        if verb == "put":
            queue.put(pod(name))
            known.add(name)
        elif verb == "pop" and (item := queue.pop(now)) is not None:
            assert item.metadata.name not in trying and item.metadata.name in known
            trying.add(item.metadata.name)
        elif verb in ("park", "retry") and name in trying:
            trying.discard(name)
            queue.failed(uid(name), now, park=verb == "park")
        elif verb == "change":
            queue.changed()
        elif verb == "drop":
            queue.drop(uid(name))
            known.discard(name)
            trying.discard(name)
        elif verb == "later":
            now += 3
    found = set()
    while (item := queue.pop(now + 100)) is not None:
        found.add(item.metadata.name)
    assert found == known - trying
