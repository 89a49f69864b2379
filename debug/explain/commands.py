"""Carries out ``podwire explain``, which cli.py declares."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from debug.cluster import ClusterState, Names
from debug.explain.naming import packet_text
from debug.explain.programs import Programs, SavedPrograms
from debug.explain.result import DELIVERED, UNKNOWN, Branch, Explanation, ends
from debug.explain.space import Spaces
from debug.explain.start import Call, from_outside, starting
from debug.explain.text import lines
from debug.explain.walk import Outside, Walk
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground
from debug.ruleset.packet import Address, State
from debug.trace.ends import (
    OUTSIDE,
    STRANGERS,
    Addresses,
    EndError,
    called_from_outside,
    find_source,
    own_addresses,
    parse_end,
    switch,
    target_of,
)
from lab.shared import plain_errors

if TYPE_CHECKING:
    from debug.snapshot import Snapshot

T = TypeVar("T")

_FAILED, _UNKNOWN = 1, 3  # exit codes
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What explanations are made of: places, objects, and what asks the places."""

    ground: Ground
    cluster: ClusterState | None
    spaces: Callable[[bool], Spaces]  # of whether connections that are there do not count
    own: Addresses = own_addresses
    programs: Programs | None = None  # of a snapshot


def living(found: Ground) -> Evidence:
    """Return what kernels and API tell now. Raises ReportedError."""
    return Evidence(found, needed_objects(found), lambda new: Spaces(found.places, new=new))


def saved(snapshot: "Snapshot") -> Evidence:
    """Return what a snapshot tells. Raises EndError if it was written without rules."""
    from debug.explain.saved import SavedSpaces, addresses_in, ground_of

    if not any(one.rules for one in snapshot.spaces):
        raise EndError("this snapshot has no rules to explain: write it anew with podwire snapshot")
    return Evidence(
        ground_of(snapshot),
        snapshot.cluster,
        lambda new: SavedSpaces(snapshot, new=new),
        lambda place: addresses_in(snapshot, place),
        SavedPrograms(snapshot),
    )


def explain(source: str, destination: str, **options: Any) -> None:
    """Print what would become of a packet."""
    where = options["name"], options["here"], options["kubeconfig"]
    with plain_errors():
        if options["file"] is None:
            result = explained(ground(*where), source, destination, options)
        elif any(where):
            raise click.UsageError("--snapshot is read instead of a cluster: name none beside it")
        else:
            result = explained_of_file(options["file"], source, destination, options)
        if options["output"] == "json":
            say_json(result)
        else:
            say("\n".join(lines(result)))
    sys.exit(exit_code(result.way))


def explained(found: Ground, source: str, destination: str, options: dict[str, Any]) -> Explanation:
    """Return what would become of a packet. Raises EndError, PlaceError, OSError."""
    return explained_by(living(found), source, destination, options)


def explained_of_file(
    path: Path, source: str, destination: str, options: dict[str, Any]
) -> Explanation:
    """Return the same of a snapshot. Raises EndError, SnapshotError, OSError."""
    from debug.snapshot import load  # with pyroute2, for which others need not wait

    evidence = saved(load(path))
    try:
        return explained_by(evidence, source, destination, options)
    except (LookupError, ValueError, TypeError, ArithmeticError, RecursionError) as err:
        raise EndError(f"{path} contradicts itself: podwire did not write it so ({err})") from err


def explained_by(
    evidence: Evidence, source: str, destination: str, options: dict[str, Any]
) -> Explanation:
    """Return what would become of a packet by what is known. Raises EndError, PlaceError."""
    found, cluster = evidence.ground, evidence.cluster
    names = Names(cluster or ClusterState(), found.names())
    start, asked = (parse_end(one, options["namespace"]) for one in (source, destination))
    target = target_of(asked, found, cluster, evidence.own)
    if start.is_outside:
        target = called_from_outside(asked, target, cluster)
    elif options["source_address"]:
        raise EndError("--source-address is of a packet that comes from outside: write SRC so")
    protocol = asked.protocol or ("icmp" if target.port is None else "tcp")
    call = Call(target, protocol, options)
    place = None if start.is_outside else find_source(start, found, cluster)

    def led(spaces: Spaces) -> tuple[State, Branch]:
        outside = Outside(switch(found), _strangers(options))
        calls = not options.get("packet")
        walk = Walk(spaces, names, options["most"], outside, evidence.programs, calls=calls)
        if place is None:
            return from_outside(walk, spaces, found, call)
        space = spaces.of(place)
        state = starting(space, call)
        return state, walk.begin(space, state)

    look = settled if evidence.programs is None else once
    state, way = look(lambda: evidence.spaces(options["new"]), led)
    if options["no_reply"]:
        way = _without_replies(way)
    began = OUTSIDE if place is None else place.name
    return Explanation(began, call.shown, packet_text(state, names), way, tuple(_notes(way)))


def _strangers(options: dict[str, Any]) -> frozenset[Address]:
    """Return the addresses that nobody here has: they are outside."""
    given = options["source_address"]
    return frozenset(map(ip_address, (given, *STRANGERS) if given else STRANGERS))


def once(make: Callable[[], Spaces], lead: Callable[[Spaces], T]) -> T:
    """Return what ``lead`` returns, of namespaces that do not change."""
    with closing(make()) as spaces:
        return lead(spaces)


def settled(make: Callable[[], Spaces], lead: Callable[[Spaces], T]) -> T:
    """Return what ``lead`` returns, of namespaces that stay as they are. Raises EndError.

    Chains, sets and links are asked for one after the other; if one is gone by the time that
    another leads to it, all is read again.
    """
    for _ in range(_TRIES):
        with closing(make()) as spaces, suppress(LookupError):
            return lead(spaces)
    raise EndError(
        f"rules or links changed in each of {_TRIES} readings, or are of a kind that podwire does "
        "not know: ask again in a moment"
    )


def _without_replies(way: Branch) -> Branch:
    branches = tuple(_without_replies(one) for one in way.branches)
    return msgspec.structs.replace(way, reply=None, branches=branches)


def _notes(way: Branch) -> Iterator[str]:
    unknown = sorted({one.why for one in ends(way) if one.end == UNKNOWN})
    yield from (f"unknown: {why}" for why in unknown)


def exit_code(way: Branch) -> int:
    """Return 0 if all that is likely arrives, and its answer; else 1, or 3 if it is unknown."""
    reached = [one for one in ends(way) if one.probability > 0]
    reached += [end for one in reached if one.reply for end in ends(one.reply)]
    found = {one.end for one in reached if one.probability > 0}
    if found <= {DELIVERED}:
        return 0
    return _UNKNOWN if UNKNOWN in found else _FAILED
