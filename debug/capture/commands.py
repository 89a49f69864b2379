"""Carries out ``podwire capture``, which cli.py declares."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, BinaryIO

from msgspec import Struct

from debug.capture.listen import Caught, Listener, Wanted
from debug.cluster import ClusterState, Names
from debug.kernel.read import read_space
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place, inside
from debug.trace.ends import EndError, find_source, parse_end
from debug.trace.listen import live_places
from debug.trace.live import Match, parse_filter
from debug.trace.model import Ends
from debug.trace.pcapng import Frame, Writer
from debug.trace.result import ends_of
from debug.trace.text import ends
from lab.shared import plain_errors

_OWN = ("127.", "::1", "fe80:")  # addresses by which no other place knows a Pod


class Captured(Struct, frozen=True, omit_defaults=True):
    """A packet on a link, as ``-o json`` prints it, one a line."""

    time: float  # seconds since 1970
    node: str
    place: str  # "Node node1" or "Pod default/web"
    link: str
    direction: str  # in or out
    ends: Ends
    length: int  # bytes of the IP packet
    kind: str = ""  # TCP's flags, or what an ICMP message is
    tunnel: Ends | None = None  # the outer flow of a packet in a tunnel


def capture(pod: str, **options: Any) -> None:
    """Print or write packets as they come."""
    with plain_errors():
        found = ground(options["name"], options["here"], options["kubeconfig"])
        cluster = needed_objects(found)
        place = find_source(parse_end(pod, options["namespace"]), found, cluster)
        if place.pod is None:
            raise EndError(f"{pod} is no Pod with a network of its own: name a Pod")
        wanted = find_wanted(place, cluster, options)
        places = find_places(place, wanted, found, cluster) if options["hops"] else [place]
        with ExitStack() as open_:
            # What is to be written is opened first: a mistake is told before anything is heard.
            tell = open_.enter_context(
                _output(options, Names(cluster or ClusterState(), found.names()))
            )
            listener = open_.enter_context(closing(Listener(places, wanted)))
            say(f"listening in {len(places)} namespaces; Ctrl-C ends it", err=True)
            with suppress(KeyboardInterrupt, BrokenPipeError):
                count = _follow(listener, options, tell)
                say(f"{count} packets", err=True)
            if lost := listener.lost:
                say(f"unseen: {lost} packets came faster than they were read", err=True)


def find_wanted(place: Place, cluster: ClusterState | None, options: dict[str, Any]) -> Wanted:
    """Return which packets are meant. Raises EndError, PlaceError."""
    hosts = [
        f"host {ip}"
        for one in inside(place, read_space).addresses
        if not (ip := one.ip.partition("/")[0]).startswith(_OWN)
    ]
    if not hosts:
        raise EndError(f"{place.name} has no address of its own")
    own, asked = " and ".join(hosts), options["asked"]
    filters: list[Match] = []
    if options["hops"]:
        filters.append(parse_filter(own, options["namespace"], cluster))
    if asked:
        has_host = any(term.strip().startswith("host ") for term in asked.split(" and "))
        text = asked if has_host else f"{own} and {asked}"
        filters.append(parse_filter(text, options["namespace"], cluster))
    return Wanted(tuple(filters))


def find_places(
    place: Place, wanted: Wanted, found: Ground, cluster: ClusterState | None
) -> list[Place]:
    """Return the Pod, the nodes, and the other Pods that have an address of the filter."""
    others = [one for each in wanted.filters for one in live_places(each, found, cluster)]
    return list(dict.fromkeys((place, *others)))


def _follow(listener: Listener, options: dict[str, Any], tell: Callable[[Caught], None]) -> int:
    """Tell packets until enough have come, or the time is over; return how many."""
    end = time.monotonic() + options["seconds"] if options["seconds"] else None
    count = 0
    while end is None or time.monotonic() < end:
        patience = (min(0.5, max(0.0, end - time.monotonic())),) if end else ()
        for one in listener.read(*patience):
            tell(one)
            count += 1
            if count == options["count"]:
                return count
    return count


@contextmanager
def _output(options: dict[str, Any], names: Names) -> Iterator[Callable[[Caught], None]]:
    """Give what is done with each packet. Raises OSError."""
    if options["write"] is None:
        yield lambda one: _say(told(one, names), options["output"])
        return
    with _opened(options["write"]) as file:
        writer = Writer()

        def write(one: Caught) -> None:
            name = f"{one.place.name} {one.tapped.link}"
            file.write(writer.add(Frame(one.tapped.time, name, one.tapped.data)))
            file.flush()

        file.write(writer.head())
        file.flush()
        yield write


def _opened(path: str) -> BinaryIO:
    """Open a file, emptied, that only its owner reads, or standard output. Raises OSError."""
    if path == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o600), "wb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # and no device
        os.fchmod(file.fileno(), 0o600)  # it may have been there
    return file


def told(one: Caught, names: Names) -> Captured:
    """Return a packet with the names of its addresses; of a tunnel's, what it carries."""
    shown = one.packet.inner or one.packet
    return Captured(
        time=one.tapped.time / 1e9,
        node=one.place.node,
        place=one.place.name,
        link=one.tapped.link,
        direction="out" if one.tapped.out else "in",
        ends=ends_of(shown.flow, names.of),
        length=shown.length,
        kind=shown.kind,
        tunnel=ends_of(one.packet.flow, names.of) if one.packet.inner else None,
    )


def _say(one: Captured, output: str) -> None:
    if output == "json":
        say_json(one, line=True)
    else:
        say(line(one))


def line(one: Captured) -> str:
    """Return a packet in words."""
    seconds, micro = divmod(round(one.time * 1e6), 1_000_000)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{micro:06}"
    kind = f" {one.kind}" if one.kind else ""
    tunnel = f", in a tunnel {ends(one.tunnel)}" if one.tunnel else ""
    where = f"{one.place} {one.direction} {one.link}"
    return f"{clock}  {where}  {ends(one.ends)}{kind}, {one.length} bytes{tunnel}"
