"""Carries out ``podwire trace --live``: shows packets that are there, until the user ends it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from debug.cluster import ClusterState, Names
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place, PlaceError
from debug.trace.commands import read_rules, read_service
from debug.trace.live import LiveRecognizer, Match, live_tables, parse_filter
from debug.trace.model import PacketTrace
from debug.trace.result import Teller
from debug.trace.rules import table_name
from debug.trace.sought import of_match
from debug.trace.text import packet_lines
from debug.trace.tracking import tracked
from debug.trace.walk import Passage, Stay, connections_of, walk
from debug.trace.watch.connections import Connection
from debug.trace.watch.drops import function_at
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.routes import leads
from debug.trace.watch.spaces import Event, Seen, Watch
from lab.shared import plain_errors

_QUIET, _LONGEST = 0.1, 1.0  # seconds: a batch ends where nothing comes, or after some time
_ENDLESS = 1
_REMEMBERED = 10_000  # connections that were told


def listen(live: str, **options: Any) -> None:
    """Print packets as they come."""
    with plain_errors(), suppress(KeyboardInterrupt):
        found = ground(options["name"], options["here"], options["kubeconfig"])
        cluster = needed_objects(found)
        match = parse_filter(live, options["namespace"], cluster)
        names = Names(cluster or ClusterState(), found.names())
        left = options["count"]
        for packet in live_packets(match, live_places(match, found, cluster), names):
            if options["dropped"] and packet.outcome != "dropped":
                continue
            _print(packet, options)
            left -= options["count"] != _ENDLESS
            if not left:
                return


def _print(packet: PacketTrace, options: dict[str, Any]) -> None:
    if options["output"] == "json":
        say_json(packet, line=True)
    else:
        say("\n".join((*packet_lines(packet, every=options["every"]), "")))


def live_places(match: Match, found: Ground, cluster: ClusterState | None) -> list[Place]:
    """Return the nodes, and the Pods that have an address of the filter."""
    places = list(found.nodes())
    for pod in cluster.pods if cluster else ():
        if {one.ip for one in pod.status.pod_ips} & set(match.hosts):
            with suppress(PlaceError):  # in its node's network, or elsewhere
                places.append(found.pod(pod.key))
    return list(dict.fromkeys(places))


def _note(text: str) -> None:
    say(text, err=True)


def live_packets(
    match: Match,
    places: Sequence[Place],
    names: Names,
    note: Callable[[str], None] = _note,
    over: Callable[[], bool] = lambda: False,
) -> Iterator[PacketTrace]:
    """Yield packets as they come, until it is ``over``, for which is looked once a second.

    ``note`` is told in words what cannot be seen. Raises OSError, PlaceError.
    """
    name = table_name(os.getpid())
    with listening(match, places, name) as watch:
        for line in watch.blind:
            note(f"unseen: {line}")
        note(f"listening in {len(places)} namespaces")
        telling = _Telling(match, watch, names, time.time_ns())
        for batch in _batches(watch, name, telling.started, over):
            yield from telling.told(batch)
            for line in watch.lost():
                note(f"unseen: {line}")


@contextmanager
def listening(match: Match, places: Sequence[Place], name: str) -> Iterator[Watch]:
    """Listen to what is meant meanwhile, with tables of a name."""
    with closing(Watch(of_match(match))) as watch:
        for place in places:
            watch.add(place, live_tables(match, name))
        watch.add_drops(*match.words())
        watch.await_stamps()
        yield watch


def _batches(
    watch: Watch, table: str, ready: int, over: Callable[[], bool]
) -> Iterator[list[Seen]]:
    """Yield events in batches that end where nothing comes for a while.

    Of packets from before all places were ready only a part was seen: they are passed over.
    """
    while not over():
        batch = watch.read(_LONGEST)
        end = time.monotonic() + _LONGEST
        while batch and time.monotonic() < end and (more := watch.read(_QUIET)):
            batch += more
        yield [one for one in batch if _counts(one.event, table, ready)]
        watch.trace_new_tables()


def _counts(event: Event, table: str, ready: int) -> bool:
    if isinstance(event, NftTrace):
        return event.table != table
    return isinstance(event, Connection) or event.time >= ready


@dataclass(slots=True)
class _Telling:
    """Tells packets, and of each connection once that it is tracked."""

    match: Match
    watch: Watch
    names: Names
    started: int
    _known: dict[Seen, None] = field(default_factory=dict)

    def told(self, batch: list[Seen]) -> Iterator[PacketTrace]:
        """Yield the packets of a batch that are meant."""
        recognizer = LiveRecognizer(self.match)
        ways = walk(batch, recognizer, self.watch.links)
        meant = {
            identity: stays
            for identity, stays in ways.items()
            if any(_is_meant(self.match, stay) for stay in stays)
        }
        found = tracked(meant.values())
        teller = self._teller(batch, found)
        fresh = [one for one in found if one not in self._known]
        self._remember(fresh)
        for identity, stays in walk([*batch, *fresh], recognizer, self.watch.links).items():
            if identity in meant:
                yield teller.packet(1, identity, stays)

    def _remember(self, fresh: list[Seen]) -> None:
        self._known |= dict.fromkeys(fresh)
        for one in list(self._known)[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[one]

    def _teller(self, batch: list[Seen], found: list[Seen]) -> Teller:
        return Teller(
            read_rules(batch),
            self.names.of,
            self.started,
            connections_of(found),
            element=lru_cache(read_service),
            function=function_at,
            leads=lru_cache(leads),
        )


def _is_meant(match: Match, stay: Stay) -> bool:
    """Return True if a packet fits the filter somewhere; rules alone tell no way."""
    return any(
        match.fits(one.packet) and isinstance(one, Passage)
        for one in stay.met
        if not isinstance(one, Connection)
    )
