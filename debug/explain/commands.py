"""Carries out ``podwire explain``, which cli.py declares."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import Any, TypeVar

import msgspec

from debug.cluster import ClusterState, Names
from debug.explain.naming import packet_text
from debug.explain.result import DELIVERED, UNKNOWN, Branch, Explanation, ends
from debug.explain.space import Spaces
from debug.explain.start import Call, from_outside, starting
from debug.explain.text import lines
from debug.explain.walk import Outside, Walk
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place
from debug.ruleset.packet import Address, State
from debug.trace.ends import (
    OUTSIDE,
    STRANGERS,
    EndError,
    called_from_outside,
    find_source,
    parse_end,
    switch,
    target_of,
)
from lab.shared import plain_errors

T = TypeVar("T")

_FAILED, _UNKNOWN = 1, 3  # exit codes
_TRIES = 3


def explain(source: str, destination: str, **options: Any) -> None:
    """Print what would become of a packet."""
    with plain_errors():
        found = ground(options["name"], options["here"], options["kubeconfig"])
        result = explained(found, source, destination, options)
        if options["output"] == "json":
            say_json(result)
        else:
            say("\n".join(lines(result)))
    sys.exit(exit_code(result.way))


def explained(found: Ground, source: str, destination: str, options: dict[str, Any]) -> Explanation:
    """Return what would become of a packet. Raises EndError, PlaceError, OSError."""
    cluster = needed_objects(found)
    names = Names(cluster or ClusterState())
    start, asked = (parse_end(one, options["namespace"]) for one in (source, destination))
    target = target_of(asked, found, cluster)
    if start.is_outside:
        target = called_from_outside(asked, target, cluster)
    elif options["source_address"]:
        raise EndError("--source-address is of a packet that comes from outside: write SRC so")
    protocol = asked.protocol or ("icmp" if target.port is None else "tcp")
    call = Call(target, protocol, options)
    place = None if start.is_outside else find_source(start, found, cluster)

    def led(spaces: Spaces) -> tuple[State, Branch]:
        outside = Outside(switch(found), _strangers(options))
        walk = Walk(spaces, names, options["most"], outside)
        if place is None:
            return from_outside(walk, spaces, found, call)
        space = spaces.of(place)
        state = starting(space, call)
        return state, walk.begin(space, state)

    state, way = settled(found.places, led, new=options["new"])
    if options["no_reply"]:
        way = _without_replies(way)
    port = "" if target.port is None else f":{target.port}"
    shown = f"{target.shown}{port}/{protocol}"
    began = OUTSIDE if place is None else place.name
    return Explanation(began, shown, packet_text(state, names), way, tuple(_notes(way)))


def _strangers(options: dict[str, Any]) -> frozenset[Address]:
    """Return the addresses that nobody here has: they are outside."""
    given = options["source_address"]
    return frozenset(map(ip_address, (given, *STRANGERS) if given else STRANGERS))


def settled(places: Sequence[Place], lead: Callable[[Spaces], T], *, new: bool = False) -> T:
    """Return what ``lead`` returns, of namespaces that stay as they are. Raises EndError.

    With ``new`` connections that are there do not count.

    Chains, sets and links are asked for one after the other; if one is gone by the time that
    another leads to it, all is read again.
    """
    for _ in range(_TRIES):
        with closing(Spaces(places, new=new)) as spaces, suppress(LookupError):
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
