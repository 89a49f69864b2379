"""Joins what was seen of a probe to the way of each of its packets: pure.

Links tell the time, rules do not: the kernel puts no time into trace events. But within one
namespace each kind of event comes in order, and a rule's event names the links. So rules take
their places between links: before the link that they send to, after the one that they receive from.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from debug.places import Place
from debug.trace.packet import Flow, Packet, parse, parse_parts
from debug.trace.probe import Identity, Recognizing
from debug.trace.watch.connections import Connection
from debug.trace.watch.drops import Dropped
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.spaces import Seen
from debug.trace.watch.taps import Tapped

Links = Mapping[Place, Mapping[int, str]]


@dataclass(slots=True)
class Visit:
    """A packet's way through one base chain and what it jumps to."""

    packet: Packet
    link_in: str
    link_out: str
    events: list[NftTrace] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Passage:
    """A packet on a link, or its end in the kernel, with the reason."""

    time: int
    link: str
    out: bool
    packet: Packet
    data: bytes
    dropped: str = ""
    function: int = 0  # of a drop, an address in the kernel


Met = Visit | Passage | Connection


@dataclass(frozen=True, slots=True)
class Stay:
    """What a packet met in one namespace, in order."""

    place: Place
    met: tuple[Met, ...]


@dataclass(slots=True)
class _Known:
    """All that was seen of one packet."""

    passages: list[tuple[Place, Passage]] = field(default_factory=list)
    visits: dict[Place, list[Visit]] = field(default_factory=lambda: defaultdict(list))


def walk(seen: Sequence[Seen], recognizer: Recognizing, links: Links) -> dict[Identity, list[Stay]]:
    """Return the way of each packet, in the order in which they were first seen."""
    connections = connections_of(seen)
    return {
        identity: list(_stays(one, connections))
        for identity, one in _gather(seen, recognizer, links).items()
    }


def _gather(seen: Sequence[Seen], recognizer: Recognizing, links: Links) -> dict[Identity, _Known]:
    known: dict[Identity, _Known] = {}
    wires: dict[tuple[Flow, int], Identity] = {}  # of packets whose mark no trace event shows
    for place, passage in _passages(seen, links):
        if identity := recognizer.identify(passage.packet):
            wires.setdefault(_wire(passage.packet), identity)
            known.setdefault(identity, _Known()).passages.append((place, passage))
    for place, visit in _visits(seen, links):
        identity = recognizer.identify(visit.packet) or wires.get(_wire(visit.packet))
        if identity:
            known.setdefault(identity, _Known()).visits[place].append(visit)
    return known


def _passages(seen: Sequence[Seen], links: Links) -> list[tuple[Place, Passage]]:
    """Return the packets on links and the dropped ones, in the order of their times."""
    found: list[tuple[Place, Passage]] = []
    for one in seen:
        event, names = one.event, links.get(one.place, {})
        if not isinstance(event, Tapped | Dropped) or not (packet := parse(event.data)):
            continue
        if isinstance(event, Tapped):
            passage = Passage(event.time, event.link, event.out, packet, event.data)
        else:
            link, why = names.get(event.link, ""), (event.reason, event.function)
            passage = Passage(event.time, link, False, packet, event.data, *why)
        found.append((one.place, passage))
    return sorted(found, key=lambda one: (one[1].time, not one[1].out))


def _wire(packet: Packet) -> tuple[Flow, int]:
    return packet.flow, packet.identification


def _visits(seen: Sequence[Seen], links: Links) -> Iterator[tuple[Place, Visit]]:
    """Yield visits in the order of their beginning: an event with headers begins one."""
    open_: dict[tuple[Place, int, str], Visit] = {}
    for one in seen:
        event = one.event
        if not isinstance(event, NftTrace):
            continue
        key = (one.place, event.packet, event.family)
        if packet := parse_parts(event.network, event.transport):
            names = links.get(one.place, {})
            found = Visit(packet, names.get(event.link_in, ""), names.get(event.link_out, ""))
            open_[key] = found
            yield one.place, found
        if key in open_:
            open_[key].events.append(event)


def connections_of(seen: Sequence[Seen]) -> dict[Place, list[Connection]]:
    """Return the connections that each place began to track."""
    found: dict[Place, list[Connection]] = defaultdict(list)
    for one in seen:
        if isinstance(one.event, Connection):
            found[one.place].append(one.event)
    return found


def _stays(known: _Known, connections: dict[Place, list[Connection]]) -> Iterator[Stay]:
    """Yield the stays: a change of the place where the packet is on a link begins one."""
    waiting = {place: list(visits) for place, visits in known.visits.items()}
    runs = [(place, [one for _, one in run]) for place, run in groupby(known.passages, _place)]
    met: list[tuple[Place, list[Met]]] = []
    for at, (place, run) in enumerate(runs):
        later = any(other == place for other, _ in runs[at + 1 :])
        met.append((place, list(_merge(waiting.get(place, []), run, last=not later))))
    for place, rest in waiting.items():
        _last(met, place).extend(rest)
    for place, steps in met:
        yield Stay(place, (*steps, *_made(place, steps, connections)))


def _place(one: tuple[Place, Passage]) -> Place:
    return one[0]


def _merge(queue: list[Visit], run: Sequence[Passage], *, last: bool) -> Iterator[Met]:
    """Yield one stay in order, and take what it has from the queue of the place's visits.

    What leaves a place for the last time has met there whatever it has met: rules that see a
    bridge's packets through br_netfilter do not name the link to which it sends them.
    """
    for passage in run:
        leaves = last and bool(passage.out or passage.dropped) and passage is run[-1]
        count = len(queue) if leaves else _before(queue, passage)
        yield from queue[:count]
        yield passage
        del queue[:count]


def _made(
    place: Place, steps: Sequence[Met], connections: dict[Place, list[Connection]]
) -> list[Connection]:
    """Return the connections that a packet made in a stay; the next packets only belong to them."""
    flows = {_inmost(one.packet).flow for one in steps if not isinstance(one, Connection)}
    made = [one for one in connections.get(place, ()) if one.original in flows]
    connections[place] = [one for one in connections.get(place, ()) if one not in made]
    return made


def _inmost(packet: Packet) -> Packet:
    return packet.inner or packet


def _last(met: list[tuple[Place, list[Met]]], place: Place) -> list[Met]:
    """Return the steps of the last stay in a place; a new one if there is none."""
    for where, steps in reversed(met):
        if where == place:
            return steps
    met.append((place, []))
    return met[-1][1]


def _before(queue: Sequence[Visit], passage: Passage) -> int:
    """Return how many waiting visits were before a packet was on a link.

    The rules that see a bridge's packets through br_netfilter name the bridge as the link, but
    come before the packet is on it: then the packet may not be any more what it was to them.
    """
    if not passage.out:
        fits = [at for at, one in enumerate(queue) if one.link_in == passage.link]
        flow = _inmost(passage.packet).flow
        same = [at for at in fits if queue[at].packet.flow in (flow, passage.packet.flow)]
        if fits and not same:
            return fits[-1] + 1
        return same[0] if same else 0
    count = 0
    for at, one in enumerate(queue):
        if one.link_out == passage.link:
            count = at + 1
        elif count:
            break
    return count
