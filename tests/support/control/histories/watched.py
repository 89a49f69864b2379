"""Whether watches brought each change once, in order, and lists show the state of a revision."""

from collections import Counter
from collections.abc import Iterator

from tests.support.control.histories.model import Call, Event, History, Outcome, Stream, Verb

Values = dict[str, tuple[str, int]]  # key -> value, revision


def faults(history: History) -> list[str]:
    """Return a line for each thing that is wrong; streams end with the same event."""
    found = [line for stream in history.streams for line in _in_one(stream)]
    longest = min(history.streams, key=lambda stream: stream.since)
    log = {event.revision: event for event in longest.events}
    for stream in history.streams:
        found += _differences(stream, log)
    found += _missing(history, longest.since, log)
    found += _of_nobody(history, log)
    return found + list(_wrong_lists(history, longest))


def _in_one(stream: Stream) -> Iterator[str]:
    """Yield what is wrong with a stream for itself."""
    last = stream.since
    for event in stream.events:
        if event.revision <= last:
            yield f"{event} came after revision {last}"
        last = max(last, event.revision)


def _differences(stream: Stream, log: dict[int, Event]) -> Iterator[str]:
    heard = {event.revision: event for event in stream.events}
    for revision in sorted(heard.keys() | {it for it in log if it > stream.since}):
        one, other = heard.get(revision), log.get(revision)
        if one != other:
            yield f"at revision {revision} one watch heard {one}, another {other}"


def _missing(history: History, since: int, log: dict[int, Event]) -> Iterator[str]:
    """Yield each acknowledged write that no event tells of."""
    left = Counter(event.key for event in log.values() if event.type == "DELETED")
    gone = {(event.key, event.value) for event in log.values() if event.type == "DELETED"}
    for call in history.calls:
        if not (call.writes and call.done):
            continue
        if call.verb is Verb.REMOVE:  # its answer has no revision
            left[call.key] -= 1
            named = call.expected is None or (call.key, call.expected) in gone
            if left[call.key] < 0 or not named:
                yield f"no event of {call}"
        elif call.revision > since and not _tells(log.get(call.revision), call):
            yield f"no event of {call}: {log.get(call.revision)}"


def _tells(event: Event | None, call: Call) -> bool:
    return event is not None and (event.key, event.value) == (call.key, call.value)


def _of_nobody(history: History, log: dict[int, Event]) -> Iterator[str]:
    """Yield each event of a value that nobody wrote, or of a write that was refused."""
    possible = {
        (call.key, call.value)
        for call in history.calls
        if call.writes and call.outcome in (Outcome.DONE, Outcome.UNKNOWN)
    }
    for event in log.values():
        if (event.key, event.value) not in possible:
            yield f"nobody wrote what {event} tells of"


def _wrong_lists(history: History, stream: Stream) -> Iterator[str]:
    """Replay a stream that begins with nothing; yield each event and list that does not fit."""
    values: Values = {}
    lists = sorted(history.lists, key=lambda it: it.revision)
    at = 0
    for event in stream.events:
        while at < len(lists) and lists[at].revision < event.revision:
            yield from _compared(lists[at].revision, lists[at].values, values)
            at += 1
        yield from _replay(event, values)
    for listed in lists[at:]:
        yield from _compared(listed.revision, listed.values, values)


def _replay(event: Event, values: Values) -> Iterator[str]:
    before = values.pop(event.key, None)
    if (event.type == "ADDED") != (before is None):
        yield f"{event} came where {before} was"
    if event.type != "DELETED":
        values[event.key] = event.value, event.revision
    elif before is not None and before[0] != event.value:
        yield f"{event} came where {before} was"


def _compared(revision: int, listed: Values, values: Values) -> Iterator[str]:
    if listed != values:
        wrong = sorted(dict(listed.items() ^ values.items()))
        yield f"the list at revision {revision} differs from what watches heard, in {wrong}"
