"""Carries out ``podwire trace --live``: shows packets that are there, until the user ends it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from typing import Any

from debug.cluster import ClusterState, Names
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place, PlaceError
from debug.trace.commands import read_rules, read_service
from debug.trace.live import (
    LiveRecognizer,
    Match,
    connection_filter,
    live_filter,
    live_tables,
    parse_filter,
)
from debug.trace.model import PacketTrace
from debug.trace.result import Teller
from debug.trace.rules import table_name
from debug.trace.text import packet_lines
from debug.trace.walk import Passage, Stay, connections_of, walk
from debug.trace.watch.connections import Connection
from debug.trace.watch.drops import function_at
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.routes import leads
from debug.trace.watch.spaces import Event, Seen, Watch
from lab.shared import plain_errors

_QUIET, _LONGEST = 0.1, 1.0  # seconds: a batch ends where nothing comes, or after some time
_ENDLESS = 1


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
    table = table_name(os.getpid())
    with closing(Watch(live_filter(match), connection_filter(match))) as watch:
        for place in places:
            watch.add(place, live_tables(match, table))
        watch.add_drops(*match.words())
        for line in watch.blind:
            note(f"unseen: {line}")
        note(f"listening in {len(places)} namespaces")
        started = time.time_ns()
        for batch in _batches(watch, table, started, over):
            yield from _told(match, batch, watch, names, started)


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


def _counts(event: Event, table: str, ready: int) -> bool:
    if isinstance(event, NftTrace):
        return event.table != table
    return isinstance(event, Connection) or event.time >= ready


def _told(
    match: Match, batch: list[Seen], watch: Watch, names: Names, started: int
) -> Iterator[PacketTrace]:
    known = connections_of(batch)
    teller = Teller(
        read_rules(batch),
        names.of,
        started,
        known,
        element=lru_cache(read_service),
        function=function_at,
        leads=lru_cache(leads),
    )
    for identity, stays in walk(batch, LiveRecognizer(match), watch.links).items():
        if any(_is_meant(match, stay) for stay in stays):
            yield teller.packet(1, identity, stays)


def _is_meant(match: Match, stay: Stay) -> bool:
    """Return True if a packet fits the filter somewhere; rules alone tell no way."""
    return any(
        match.fits(one.packet) and isinstance(one, Passage)
        for one in stay.met
        if not isinstance(one, Connection)
    )
