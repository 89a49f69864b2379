"""Puts what ``podwire explain`` predicts beside what a packet met: pure.

Both are facts in a row: places, rules that decide, the end. A prediction has many ways, because
rules draw at random; the packet is compared with the one that it followed furthest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile, zip_longest

from debug.explain.result import Branch, Hop
from debug.trace.model import Comparison, PacketTrace, Row, Step

_ENDS = {"arrived": "delivered"}
_FOLLOWED = ("accept", "drop", "queue")  # a prediction leaves out jumps that lead to nothing


@dataclass(frozen=True, slots=True)
class Path:
    """One way of a prediction: from its start to one end."""

    hops: tuple[Hop, ...]
    last: Branch


def compare(predicted: Branch, packets: tuple[PacketTrace, ...]) -> tuple[Comparison, ...]:
    """Compare the first probe and its first answer with what was predicted for both."""
    there, back = (compared_packet(direction, packets) for direction in ("forward", "reply"))
    if there is None:
        return ()
    path, found = _nearest(predicted, there)
    if path.last.reply is None or back is None:
        return (found,)
    return found, _nearest(path.last.reply, back)[1]


def compared_packet(direction: str, packets: tuple[PacketTrace, ...]) -> PacketTrace | None:
    """Return which packet of a direction is compared: the first probe, its first answer."""
    ways = (one for one in packets if one.direction == direction)
    return next((one for one in ways if direction == "forward" or one.outcome != "dropped"), None)


def _nearest(predicted: Branch, packet: PacketTrace) -> tuple[Path, Comparison]:
    """Return the way that agrees longest with what was seen, of two the likelier."""
    ways = [(path, _compared(path, packet)) for path in paths(predicted)]
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


def _compared(path: Path, packet: PacketTrace) -> Comparison:
    known = {hop.place for hop in path.hops}
    pairs = zip_longest(_predicted(path), _observed(packet, known), fillvalue="")
    rows = tuple(Row(left, right) for left, right in pairs)
    return Comparison(
        direction=packet.direction,
        probability=path.last.probability,
        agrees=all(row.predicted == row.observed for row in rows),
        rows=rows,
    )


def _predicted(path: Path) -> Iterator[str]:
    place = ""
    for hop in path.hops:
        if hop.place != place:
            yield hop.place
            place = hop.place
        for rule in hop.rules:
            if rule.handle and rule.verdict.split(" ")[0] in _FOLLOWED:
                yield _rule(rule.table, rule.chain, rule.handle, rule.verdict)
    yield _end(path.last.end, path.last.at)


def _observed(packet: PacketTrace, known: set[str]) -> Iterator[str]:
    """Yield the facts of a packet. A place of bridges alone is none to a prediction."""
    for hop in packet.hops:
        rules = [fact for step in hop.steps if (fact := fact_of(step))]
        if hop.place in known or rules:
            yield hop.place
        yield from rules
    yield _end(_ENDS.get(packet.outcome, packet.outcome), packet.where)


def fact_of(step: Step) -> str:
    """Return the fact that a step is; "" for what a prediction does not tell."""
    if step.kind != "rule" or not step.handle or step.verdict not in _FOLLOWED:
        return ""
    verdict = f"{step.verdict} {step.target}".strip()
    return _rule(f"{step.family} {step.table}", step.chain, step.handle, verdict)


def _rule(table: str, chain: str, handle: int, verdict: str) -> str:
    return f"{table} {chain} #{handle} → {verdict}"


def _end(end: str, where: str) -> str:
    return f"{end} at {where}"
