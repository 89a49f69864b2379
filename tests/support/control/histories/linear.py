"""Whether calls are linearizable: each took effect at one moment between its begin and its end.

The search is Wing's and Gong's with Lowe's memory (https://www.cs.ox.ac.uk/people/gavin.lowe/
LinearizabiltyTesting/). Linearizability is local: each key has a search of its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf

from tests.support.control.histories.model import Call, History, Outcome, Verb

State = str | None  # the value that is there


def faults(history: History) -> list[str]:
    """Return a line for each key whose calls no order explains, and each revision out of order."""
    calls = [*_settled(history), *(it for one in history.lists for it in one.calls(history.keys))]
    found = []
    for key in history.keys:
        told = [call for call in calls if call.key == key and is_told(call)]
        if stuck := unexplained(told):
            found.append(f"{key}: no order explains {len(told)} calls: {_around(told, stuck)}")
    return found + list(_out_of_order(history)) + list(_of_two_revisions(calls))


def _settled(history: History) -> list[Call]:
    """Return the calls; of writes whose end nobody knows those that a watch has seen done.

    A removal that somebody heard of may be another's, so all of them stay.
    """
    heard = {(it.key, it.value): it.revision for one in history.streams for it in one.events[::-1]}
    if not heard:
        return list(history.calls)
    settled = []
    for call in history.calls:
        unclear = call.outcome is Outcome.UNKNOWN and call.verb in (Verb.CREATE, Verb.UPDATE)
        revision = heard.get((call.key, str(call.value)))
        if not unclear:
            settled.append(call)
        elif revision:
            settled.append(replace(call, outcome=Outcome.DONE, revision=revision))
    return settled


def _around(calls: list[Call], stuck: Call) -> str:
    """Return lines of the call at which each order ends, and of those before and after it."""
    calls = sorted(calls, key=lambda call: call.begun)
    at = calls.index(stuck)
    lines = [f"{'>' if it is stuck else ' '} {it}" for it in calls[max(at - 12, 0) : at + 12]]
    return "\n".join(["", *lines])


def is_told(call: Call) -> bool:
    """Whether a call says something: not a read without an answer, nor a conflict with nobody."""
    if call.outcome is Outcome.UNKNOWN:
        return call.writes
    return call.outcome is not Outcome.CONFLICT or call.expected is not None


def after(call: Call, state: State) -> tuple[State] | None:
    """Return the state after a call that takes effect in ``state``; None if it cannot."""
    match call.outcome:
        case Outcome.EXISTS:
            fits = state is not None
        case Outcome.ABSENT:
            fits = state is None
        case Outcome.CONFLICT:
            fits = state is not None and state != call.expected
        case _:
            return _done(call, state)
    return (state,) if fits else None


def _done(call: Call, state: State) -> tuple[State] | None:
    if call.verb is Verb.READ:
        return (state,) if state == call.value else None
    if call.verb is Verb.CREATE:
        return (call.value,) if state is None else None
    if state is None or call.expected not in (None, state):
        return None
    return (None,) if call.verb is Verb.REMOVE else (call.value,)


def unexplained(calls: list[Call]) -> Call | None:
    """Return the call at which every order of a key's calls ends; None if one explains all.

    The key is absent at first. A state of the search is the calls that have taken effect, as bits,
    and the value.
    """
    calls = sorted(calls, key=lambda call: call.begun)
    wanted = sum(1 << at for at, call in enumerate(calls) if call.outcome is not Outcome.UNKNOWN)
    begin: tuple[int, State] = (0, None)
    seen = {begin}
    waiting = [begin]
    best = 0
    while waiting:
        taken, state = waiting.pop()
        if taken & wanted == wanted:
            return None
        best = max(best, taken & wanted, key=int.bit_count)
        following = [it for it in _next(calls, taken, state) if it not in seen]
        seen.update(following)
        waiting += following
    return next(call for at, call in enumerate(calls) if wanted & ~best & (1 << at))


def _next(calls: list[Call], taken: int, state: State) -> list[tuple[int, State]]:
    """Return where the search may go on, the best last: with the call that ended first.

    No call takes effect after another has begun and ended, and no write before one of an older
    revision. A call that fits and changes nothing comes at once: it is in nobody's way.
    """
    found = []
    for at in sorted(_possible(calls, taken), key=lambda at: calls[at].ended, reverse=True):
        if (result := after(calls[at], state)) is None:
            continue
        following = taken | 1 << at, result[0]
        if result[0] == state and calls[at].ended != inf:
            return [following]
        found.append(following)
    return found


def _possible(calls: list[Call], taken: int) -> Iterator[int]:
    """Yield the places of the calls that may be next."""
    latest = inf
    revised: list[tuple[int, int]] = []  # revision, place
    first = (~taken & (taken + 1)).bit_length() - 1
    for at in range(first, len(calls)):
        call = calls[at]
        if call.begun > latest:
            break
        if taken >> at & 1:
            continue
        latest = min(latest, call.ended)
        if call.writes and call.revision:
            revised.append((call.revision, at))
        else:
            yield at
    if revised:
        yield min(revised)[1]


def _out_of_order(history: History) -> Iterator[str]:
    """Yield a line for each answer whose revision is older than what was acknowledged before it."""
    writes = sorted(
        (call for call in history.calls if call.writes and call.done and call.revision),
        key=lambda call: call.ended,
    )
    asked = [(call.begun, call.revision, True, str(call)) for call in writes]
    asked += [(it.begun, it.revision, False, f"a list at {it.revision}") for it in history.lists]
    newest = at = 0
    for begun, revision, is_write, text in sorted(asked):
        while at < len(writes) and writes[at].ended < begun:
            newest = max(newest, writes[at].revision)
            at += 1
        if revision < newest + is_write:
            yield f"revision {newest} was acknowledged before {text}"


def _of_two_revisions(calls: Iterable[Call]) -> Iterator[str]:
    """Yield a line for each value that was told with two revisions, or revision with two values."""
    by_value: dict[str, int] = {}
    by_revision: dict[int, str] = {}
    for call in calls:
        if not call.done or call.value is None or not call.revision:
            continue
        revision = by_value.setdefault(call.value, call.revision)
        value = by_revision.setdefault(call.revision, call.value)
        if (value, revision) != (call.value, call.revision):
            yield f"revision {revision} is of {value}, and {call}"
