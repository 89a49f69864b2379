"""Networks of a ladder's steps as ranges that do not overlap, each with its answer: pure."""

import heapq
from collections.abc import Iterator
from itertools import pairwise

from proxy.model.values import Family
from proxy.policy.tiers.ranking import Steps
from proxy.policy.values import Action, AddressRange, BlockPeer


def cut_networks(steps: Steps, family: Family) -> Iterator[tuple[AddressRange, Action]]:
    """Yield ranges of addresses, upwards, with the action of the first step that has them."""
    last: tuple[AddressRange, Action] | None = None
    for span, number in _cut(steps, family):
        action = steps[number][1]
        if last and last[1] is action and last[0].last + 1 == span.first:
            last = (AddressRange(family, last[0].first, span.last), action)
            continue
        if last:
            yield last
        last = (span, action)
    if last:
        yield last


def _cut(steps: Steps, family: Family) -> Iterator[tuple[AddressRange, int]]:
    """Yield each range in which the same networks lie, with the number of the first step."""
    spans = [
        (span.first, span.last, number)
        for number, (group, _) in enumerate(steps)
        for peer in group or ()
        if isinstance(peer, BlockPeer)
        for span in peer.ranges
        if span.version == family
    ]
    begin: dict[int, list[tuple[int, int]]] = {}
    for first, end, number in spans:
        begin.setdefault(first, []).append((number, end))
    places = {place for first, end, _ in spans for place in (first, end + 1)}
    active: list[tuple[int, int]] = []  # (step, last address), the first step first
    for place, after in pairwise(sorted(places)):
        for one in begin.get(place, ()):
            heapq.heappush(active, one)
        while active and active[0][1] < place:
            heapq.heappop(active)
        if active:
            yield AddressRange(family, place, after - 1), active[0][0]
