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
from debug.explain.space import Space, Spaces
from debug.explain.text import lines
from debug.explain.walk import Walk
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place
from debug.ruleset.packet import ICMP6, NUMBERS, Address, State, make
from debug.trace.ends import EndError, Target, find_source, find_target, parse_end
from lab.shared import plain_errors

T = TypeVar("T")

_FAILED, _UNKNOWN = 1, 3  # exit codes
_TRIES = 3
_DISCARD = 9  # the port of a packet that is given none


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
    asked = parse_end(destination, options["namespace"])
    place = find_source(parse_end(source, options["namespace"]), found, cluster)
    target = find_target(asked, cluster)
    protocol = asked.protocol or ("icmp" if target.port is None else "tcp")

    def led(spaces: Spaces) -> tuple[State, Branch]:
        space = spaces.of(place)
        state = _start(space, target, protocol, options)
        return state, Walk(spaces, names, options["most"]).begin(space, state)

    state, way = settled(found.places, led, new=options["new"])
    if options["no_reply"]:
        way = _without_replies(way)
    port = "" if target.port is None else f":{target.port}"
    shown = f"{target.shown}{port}/{protocol}"
    return Explanation(place.name, shown, packet_text(state, names), way, tuple(_notes(way)))


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


def _start(space: Space, target: Target, protocol: str, options: dict[str, Any]) -> State:
    """Return the packet where it is sent, with the source address that the kernel chooses."""
    to = ip_address(target.addresses[0])
    number = NUMBERS[protocol]
    if protocol == "icmp" and to.version == 6:
        number = ICMP6
    own = _source(space, to)
    packet = make(str(own), str(to), number, options["source_port"], target.port or _DISCARD)
    return State(packet, mark=options["mark"])


def _source(space: Space, to: Address) -> Address:
    route = space.fib.route(to)
    if route.source:
        return ip_address(route.source)
    usable = [
        one
        for _, one, *_ in space.fib.addresses
        if one.version == to.version and not one.is_loopback and not one.is_link_local
    ]
    if not usable:
        raise EndError(f"{space.name} has no address of IPv{to.version}, as {to} is")
    return usable[0]


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
