"""Puts what is predicted, what a packet met, and what should become of it side by side: pure.

All are facts in a row: places, rules that decide, where a Service's packet goes, the end. A
prediction has many ways, because rules draw at random; the packet is compared with the one that it
followed furthest. What the API's objects want has no rules, and only some places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

from debug.explain.result import Branch, Hop
from debug.trace.facts import ADMITS, NOTHING, REFUSES, Fact, Kind, goes_to, said_by
from debug.trace.model import Comparison, Ends, PacketTrace, Row, Step
from proxy.policy.render import TABLE

_ENDS = {"arrived": "delivered"}
_FOLLOWED = ("accept", "drop", "queue")  # a prediction leaves out jumps that lead to nothing


@dataclass(frozen=True, slots=True)
class Path:
    """One way of a prediction: from its start to one end."""

    hops: tuple[Hop, ...]
    last: Branch


def compare(
    predicted: Branch, packets: tuple[PacketTrace, ...], wanted: Sequence[Fact] = ()
) -> tuple[Comparison, ...]:
    """Compare the first probe and its first answer with what was predicted for both.

    ``wanted`` is what the API's objects want of the probe, in order; none if nobody knows.
    """
    there, back = (compared_packet(direction, packets) for direction in ("forward", "reply"))
    if there is None:
        return ()
    path, found = _nearest(predicted, there, wanted)
    if path.last.reply is None or back is None:
        return (found,)
    return found, _nearest(path.last.reply, back, ())[1]


def compared_packet(direction: str, packets: tuple[PacketTrace, ...]) -> PacketTrace | None:
    """Return which packet of a direction is compared: the first probe, its first answer."""
    ways = (one for one in packets if one.direction == direction)
    return next((one for one in ways if direction == "forward" or one.outcome != "dropped"), None)


def _nearest(
    predicted: Branch, packet: PacketTrace, wanted: Sequence[Fact]
) -> tuple[Path, Comparison]:
    """Return the way that agrees longest with what was seen, of two the likelier."""
    ways = [(path, _compared(path, packet, wanted)) for path in paths(predicted)]
    return max(ways, key=lambda way: (_same(way[1]), way[0].last.probability))


def _same(found: Comparison) -> tuple[bool, int]:
    return found.agrees, len(list(takewhile(lambda row: row.predicted == row.observed, found.rows)))


def paths(branch: Branch, before: tuple[Hop, ...] = ()) -> Iterator[Path]:
    """Yield all ways of a prediction."""
    hops = (*before, *branch.hops)
    if not branch.branches:
        yield Path(hops, branch)
    for one in branch.branches:
        yield from paths(one, hops)


def _compared(path: Path, packet: PacketTrace, wanted: Sequence[Fact]) -> Comparison:
    known = {hop.place for hop in path.hops}
    pairs = list(zip_longest(_predicted(path), _observed(packet, known), fillvalue=NOTHING))
    facts = list(_beside(pairs, wanted))
    return Comparison(
        direction=packet.direction,
        probability=path.last.probability,
        agrees=all(left == right for left, right in pairs),
        rows=tuple(map(_row, facts)),
        as_wanted=all(_is_wanted(*one[1:]) for one in facts) if wanted else None,
        parts_at=_parting(facts),
    )


Three = tuple[Fact, Fact, Fact]  # predicted, observed, wanted


def _row(three: Three) -> Row:
    predicted, observed, wanted = three
    return Row(predicted.text, observed.text, wanted.text, not _is_one(three))


def _beside(pairs: Sequence[tuple[Fact, Fact]], wanted: Sequence[Fact]) -> Iterator[Three]:
    """Yield rows: what is wanted stands beside the same, else beside the next of its kind."""
    beside: dict[int, Fact] = {}
    extra: dict[int, list[Fact]] = {}
    start, end = 0, len(pairs) - 1
    for number, fact in enumerate(wanted):
        at = _row_of(fact, pairs, start, wanted[number + 1 :])
        if at is None:
            extra.setdefault(min(start, end), []).append(fact)
        else:
            beside[at] = fact
            start = at + 1
    for at, (predicted, observed) in enumerate(pairs):
        yield from ((NOTHING, NOTHING, one) for one in extra.get(at, ()))
        yield predicted, observed, beside.get(at, NOTHING)


def _row_of(
    fact: Fact, pairs: Sequence[tuple[Fact, Fact]], start: int, later: Sequence[Fact]
) -> int | None:
    rows = range(start, len(pairs))
    same = (at for at in rows if fact in pairs[at])
    alike = (
        at
        for at in rows
        if fact.kind in (one.kind for one in pairs[at])
        and not any(other in pairs[at] for other in later)
    )
    return next(same, next(alike, None))


def _is_one(three: Three) -> bool:
    predicted, observed, wanted = three
    return predicted == observed and _is_wanted(observed, wanted)


def _is_wanted(observed: Fact, wanted: Fact) -> bool:
    """Return True if a fact is as it should be; of most, nobody wants anything."""
    if wanted == ADMITS:
        return observed != REFUSES
    return wanted in (NOTHING, observed)


def _parting(rows: Sequence[Three]) -> str:
    """Return the place where the ways part, which is before the first difference; "" for none."""
    place = ""
    for three in rows:
        here = next((one.text for one in three[::-1] if one.kind is Kind.PLACE), place)
        if not _is_one(three):
            return place or here
        place = here
    return ""


def _predicted(path: Path) -> Iterator[Fact]:
    place = ""
    for hop in path.hops:
        if hop.place != place:
            yield Fact(Kind.PLACE, hop.place)
            place = hop.place
        for rule in hop.rules:
            yield from filter(None, map(said_by, rule.did))
            verdict = rule.verdict.split(" ")[0]
            if rule.handle and verdict in _FOLLOWED:
                yield _rule(rule.table, rule.chain, rule.handle, rule.verdict)
            if verdict == "drop" and _is_of_policies(rule.table):
                yield REFUSES
    yield _end(path.last.end, path.last.at)


def _observed(packet: PacketTrace, known: set[str]) -> Iterator[Fact]:
    """Yield the facts of a packet. A place of bridges alone is none to a prediction."""
    for hop in packet.hops:
        facts = [fact for step in hop.steps for fact in facts_of(step)]
        if hop.place in known or facts:
            yield Fact(Kind.PLACE, hop.place)
        yield from facts
    yield _end(_ENDS.get(packet.outcome, packet.outcome), packet.where)


def facts_of(step: Step) -> Iterator[Fact]:
    """Yield the facts that a step is; none for what a prediction does not tell."""
    is_rule = step.kind == "rule" and bool(step.handle) and step.verdict in _FOLLOWED
    if is_rule or step.kind == "program":
        yield from _translated(step)
    if is_rule:
        verdict, table = f"{step.verdict} {step.target}".strip(), f"{step.family} {step.table}"
        yield _rule(table, step.chain, step.handle or 0, verdict)
        if step.verdict == "drop" and _is_of_policies(table):
            yield REFUSES


def _translated(step: Step) -> Iterator[Fact]:
    """Yield where a rule or a program sends a packet."""
    old, new = step.before, step.ends
    if old and new and _target(old) != _target(new):
        yield goes_to(*_target(new))


def _target(ends: Ends) -> tuple[str, int | None]:
    return ends.destination, ends.destination_port


def _is_of_policies(table: str) -> bool:
    return table.endswith(f" {TABLE}")


def _rule(table: str, chain: str, handle: int, verdict: str) -> Fact:
    return Fact(Kind.RULE, f"{table} {chain} #{handle} → {verdict}")


def _end(end: str, where: str) -> Fact:
    return Fact(Kind.END, f"{end} at {where}")
