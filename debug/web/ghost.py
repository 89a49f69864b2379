"""Puts a prediction beside a packet's steps: what of it is drawn next to which step. Pure.

``podwire trace --compare`` holds both as facts in a row: places, rules that decide, the end. As
long as they are equal, the prediction is a line beside the packet's own; from where they part it
has steps of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

from debug.trace.compare import compared_packet, facts_of
from debug.trace.model import Comparison, Hop, PacketTrace, Row, Step, Trace
from debug.trace.text import says_much

_PLACES = ("Node ", "Pod ")  # how a fact begins that is a place; a rule begins with its family
_AHEAD = 4  # facts
_RULE, _AT = " → ", " at "  # in a fact that is a rule; in one that is an end, before its place


@dataclass(frozen=True, slots=True)
class Seen:
    """A step that was seen. ``predicted``: a fact of it was predicted, too."""

    hop: Hop
    step: Step
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class Parting:
    """Where the two ways part: the first facts that differ, "" where one way has ended."""

    place: str
    predicted: str
    observed: str


@dataclass(frozen=True, slots=True)
class Predicted:
    """A fact that was predicted alone."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the API's objects want, where it is not what was predicted and seen."""

    place: str
    text: str


Slot = Seen | Parting | Predicted | Wanted


def comparison_of(trace: Trace, packet: PacketTrace) -> Comparison | None:
    """Return what a packet is compared with; None for one that is not compared."""
    for one in trace.comparisons:
        if compared_packet(one.direction, trace.packets) is packet:
            return one
    return None


def slots(
    packet: PacketTrace, comparison: Comparison | None, *, every: bool = False
) -> Iterator[Slot]:
    """Yield all that is drawn of a packet, from above to below.

    After the parting, what was seen and what was predicted take turns. Rules that only pass the
    packet on, and are not compared, are there only with ``every``.
    """
    steps = [Seen(hop, step) for hop in packet.hops for step in hop.steps]
    same = list(takewhile(_is_same, comparison.rows)) if comparison else []
    rest = comparison.rows[len(same) :] if comparison else ()
    marked = list(_marked(steps, same, ends=not rest)) if comparison else steps
    told = {row.observed for row in rest} - {""}
    shown = [
        one
        for one in marked
        if every or one.predicted or says_much(one.step) or not told.isdisjoint(_texts(one.step))
    ]
    if not rest:
        yield from shown
        yield from _wanted(same, "")
        return
    last = max((at for at, one in enumerate(shown) if one.predicted), default=-1)
    place = _place_before(same)
    yield from shown[: last + 1]
    yield from _wanted(same, "")
    yield Parting(place, rest[0].predicted, rest[0].observed)
    yield from _wanted(rest, place)
    for predicted, seen in zip_longest(_predicted(rest, place), shown[last + 1 :]):
        yield from (one for one in (predicted, seen) if one is not None)


def _is_same(row: Row) -> bool:
    return row.predicted == row.observed


def _marked(steps: Sequence[Seen], same: Sequence[Row], *, ends: bool) -> Iterator[Seen]:
    """Yield the steps, and mark those that show a fact of ``same``; the last one shows the end.

    Some facts are no step's: up to ``_AHEAD`` of them are passed over.
    """
    waiting = [row.observed for row in same if row.observed]
    at, hop = 0, None
    for number, one in enumerate(steps):
        facts = _texts(one.step) if one.hop is hop else [one.hop.place, *_texts(one.step)]
        hop, before = one.hop, at
        for fact in facts:
            near = waiting[at : at + _AHEAD]
            at += near.index(fact) + 1 if fact in near else 0
        yield Seen(one.hop, one.step, at > before or (ends and number == len(steps) - 1))


def _texts(step: Step) -> list[str]:
    return [fact.text for fact in facts_of(step)]


def _predicted(rows: Sequence[Row], place: str) -> Iterator[Predicted]:
    for text in (row.predicted for row in rows if row.predicted):
        if text.startswith(_PLACES):
            place = text
        elif _RULE not in text and _AT in text:
            place = text.rpartition(_AT)[2] or place
        yield Predicted(place, text)


def _wanted(rows: Sequence[Row], place: str) -> Iterator[Wanted]:
    """Yield what is wanted in rows in which it is not what is: each at its place."""
    for row in rows:
        for text in (row.predicted, row.wanted):
            place = text if text.startswith(_PLACES) else place
        if row.parts and row.wanted:
            yield Wanted(place, row.wanted)


def _place_before(rows: Sequence[Row]) -> str:
    """Return the place in which the ways were last together; "" if they never were."""
    places = [row.predicted for row in rows if row.predicted.startswith(_PLACES)]
    return places[-1] if places else ""
