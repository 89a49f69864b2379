"""The checks of histories accept what a store can do, and reject what none may do."""

import random
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from tests.support.control.histories import linear, watched
from tests.support.control.histories.model import (
    Call,
    Event,
    History,
    Listed,
    Outcome,
    Stream,
    Verb,
)

KEYS = ("k0", "k1", "k2")
Values = dict[str, tuple[str, int]]


class Simulated:
    """A store whose calls take effect one by one, within the time that each seems to take."""

    def __init__(self, seed: int, unknown: float = 0.1) -> None:
        self.chance = random.Random(seed)
        self.unknown = unknown
        self.values: Values = {}
        self.revision = 0
        self.calls: list[Call] = []
        self.lists: list[Listed] = []
        self.events: list[Event] = []

    def run(self, count: int) -> History:
        for moment in range(count):
            begun = moment - self.chance.uniform(0, 3)
            ended = moment + self.chance.uniform(0.01, 3)
            if self.chance.random() < 0.1:
                self.lists.append(Listed(begun, ended, self.revision, dict(self.values)))
            else:
                self.calls.append(self.doubt(self.call(moment, begun, ended)))
        whole = tuple(self.events)
        middle = self.events[len(self.events) // 2].revision
        late = tuple(event for event in whole if event.revision > middle)
        return History(
            tuple(self.calls), tuple(self.lists), (Stream(0, whole), Stream(middle, late))
        )

    def call(self, moment: int, begun: float, ended: float) -> Call:
        key, verb = self.chance.choice(KEYS), self.chance.choice(list(Verb))
        value, revision = self.values.get(key, (None, 0))
        if verb is Verb.READ:
            return Call(key, verb, Outcome.DONE, begun, ended, value, revision=revision)
        expected = self.chance.choice([None, value, "another"]) if verb != Verb.CREATE else None
        wanted = value if verb is Verb.REMOVE else f"v{moment}"
        refused = self.refusal(verb, value, expected)
        if refused is not None:
            return Call(key, verb, refused, begun, ended, wanted, expected)
        self.revision += self.chance.randint(1, 2)
        kind = {Verb.CREATE: "ADDED", Verb.UPDATE: "MODIFIED", Verb.REMOVE: "DELETED"}[verb]
        self.events.append(Event(kind, key, str(wanted), self.revision))
        if verb is Verb.REMOVE:
            del self.values[key]
            return Call(key, verb, Outcome.DONE, begun, ended, expected, expected)
        self.values[key] = str(wanted), self.revision
        return Call(key, verb, Outcome.DONE, begun, ended, wanted, expected, self.revision)

    def refusal(self, verb: Verb, value: str | None, expected: str | None) -> Outcome | None:
        if verb is Verb.CREATE:
            return None if value is None else Outcome.EXISTS
        if value is None:
            return Outcome.ABSENT
        return None if expected in (None, value) else Outcome.CONFLICT

    def doubt(self, call: Call) -> Call:
        """Leave out the answer at times."""
        if not call.writes or self.chance.random() >= self.unknown:
            return call
        return replace(call, outcome=Outcome.UNKNOWN, ended=inf, revision=0)


def faults(history: History) -> list[str]:
    return linear.faults(history) + watched.faults(history)


@pytest.mark.parametrize("seed", range(30))
def test_what_a_store_can_do_is_accepted(seed: int) -> None:
    assert faults(Simulated(seed).run(400)) == []


def test_a_write_that_is_done_long_after_its_client_gave_up_is_accepted() -> None:
    calls = (
        Call("k0", Verb.CREATE, Outcome.DONE, 0, 1, "a", revision=1),
        Call("k0", Verb.UPDATE, Outcome.UNKNOWN, 2, inf, "b", "a"),
        Call("k0", Verb.READ, Outcome.DONE, 9, 10, "a", revision=1),
        Call("k0", Verb.READ, Outcome.DONE, 11, 12, "b", revision=2),
    )
    assert linear.faults(History(calls)) == []


def swapped(history: History, old: Call, new: Call) -> History:
    return replace(history, calls=tuple(new if it is old else it for it in history.calls))


def one(history: History, wanted: Callable[[Call], bool]) -> Call:
    return [call for call in history.calls if wanted(call)][-1]


def a_write(history: History) -> Call:
    return one(history, lambda call: call.verb is Verb.UPDATE and call.done)


def a_stale_read(history: History) -> History:
    read = one(history, lambda it: it.verb is Verb.READ and it.value is not None)
    old = next(it for it in history.calls if it.writes and it.done and it.key == read.key)
    return swapped(history, read, replace(read, value=old.value, revision=old.revision))


def a_read_of_what_nobody_wrote(history: History) -> History:
    read = one(history, lambda it: it.verb is Verb.READ and it.value is not None)
    return swapped(history, read, replace(read, value="never"))


def a_lost_write(history: History) -> History:
    """It was acknowledged, and nobody ever saw it."""
    lost = (
        Call("k9", Verb.CREATE, Outcome.DONE, 900, 901, "lost"),
        Call("k9", Verb.READ, Outcome.DONE, 902, 903),
    )
    return replace(history, calls=history.calls + lost)


def a_write_on_an_old_condition(history: History) -> History:
    call = one(history, lambda it: it.outcome is Outcome.CONFLICT and it.verb is Verb.UPDATE)
    return swapped(history, call, replace(call, outcome=Outcome.DONE))


def a_refusal_without_a_cause(history: History) -> History:
    call = one(history, lambda it: it.verb is Verb.UPDATE and it.done and it.expected is not None)
    return swapped(history, call, replace(call, outcome=Outcome.ABSENT, revision=0))


def two_creations_of_one_key(history: History) -> History:
    call = one(history, lambda it: it.outcome is Outcome.EXISTS)
    return swapped(history, call, replace(call, outcome=Outcome.DONE))


def a_revision_that_goes_back(history: History) -> History:
    call = a_write(history)
    return swapped(history, call, replace(call, revision=1))


def a_list_that_is_torn(history: History) -> History:
    """It shows one key of before."""
    listed = max(history.lists, key=lambda it: len(it.values))
    torn = {key: value for key, value in listed.values.items() if key != min(listed.values)}
    lists = tuple(replace(it, values=torn) if it is listed else it for it in history.lists)
    return replace(history, lists=lists)


def an_old_list(history: History) -> History:
    listed = replace(history.lists[0], begun=10**6, ended=10**6 + 1)
    return replace(history, lists=(listed,))


def heard(history: History, events: list[Event]) -> History:
    """Let all watches hear the same, so that their differences tell nothing."""
    return replace(history, streams=(Stream(0, tuple(events)),) * 2)


def a_gap_in_all_watches(history: History) -> History:
    revision = a_write(history).revision
    return heard(history, [it for it in history.streams[0].events if it.revision != revision])


def a_gap_in_one_watch(history: History) -> History:
    whole, late = history.streams
    return replace(history, streams=(whole, replace(late, events=late.events[1:])))


def an_event_that_comes_twice(history: History) -> History:
    events = list(history.streams[0].events)
    return heard(history, [*events[:20], events[19], *events[20:]])


def events_out_of_order(history: History) -> History:
    events = list(history.streams[0].events)
    return heard(history, [*events[:20], events[21], events[20], *events[22:]])


def an_event_of_what_nobody_wrote(history: History) -> History:
    events = list(history.streams[0].events)
    last = events[-1].revision + 1
    return heard(history, [*events, Event("ADDED", "k9", "never", last)])


def a_removal_that_nobody_hears_of(history: History) -> History:
    events = list(history.streams[0].events)
    gone = [it for it in events if it.type == "DELETED"][-1]
    return heard(history, [it for it in events if it is not gone])


WRONG = (
    a_stale_read,
    a_read_of_what_nobody_wrote,
    a_lost_write,
    a_write_on_an_old_condition,
    a_refusal_without_a_cause,
    two_creations_of_one_key,
    a_revision_that_goes_back,
    a_list_that_is_torn,
    an_old_list,
    a_gap_in_all_watches,
    a_gap_in_one_watch,
    an_event_that_comes_twice,
    events_out_of_order,
    an_event_of_what_nobody_wrote,
    a_removal_that_nobody_hears_of,
)


@pytest.mark.parametrize("spoil", WRONG, ids=lambda it: it.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_what_no_store_may_do_is_rejected(spoil: Callable[[History], History], seed: int) -> None:
    assert faults(spoil(Simulated(seed, unknown=0).run(400))) != []
