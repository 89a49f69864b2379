"""Declares ``podwire drops``, and carries it out."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from msgspec import to_builtins
from msgspec.structs import replace

from debug.again import Again
from debug.cluster import ClusterState, Names
from debug.drops.counters import DropCount, backlog, grown, read
from debug.drops.reasons import ReasonCounter
from debug.options import decided, ground, ground_options, objects, output_option
from debug.output import say, say_json
from debug.places import Place, PlaceError, inside
from lab.options import FiniteRange
from lab.report import columns
from lab.shared import plain_errors
from proxy.model.errors import KernelRefusedError

_HEADER = ("NODE", "SOURCE", "WHAT", "PACKETS", "MEANING")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@ground_options
@click.option("-f", "--follow", is_flag=True, help="Print what grows, once an interval.")
@click.option(
    "--interval",
    type=FiniteRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two readings of -f.",
)
@click.option("--node", default="", help="Only of this node.")
@click.option("--all", "every", is_flag=True, help="Also counters that are 0.")
@output_option
def main(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    follow: bool,
    interval: float,
    node: str,
    every: bool,
    output: str,
) -> None:
    """Show where packets end: every counter of drops that each node's kernel has.

    Policies, rules of nftables and iptables that drop or reject (those that count), conntrack,
    protocols (as nstat shows them), links, and the machine's backlog.

    With -f, one line for each counter that grew, with how much; with -o json one document a line.
    Then the kernel's own reasons are shown too, such as NETFILTER_DROP, with the last packet of
    each.
    Which packet it was: podwire policy drops, podwire trace.
    """
    with plain_errors():
        again = Again(partial(ground, *decided(name, here, kubeconfig)), node)
        unread: list[str] = []
        names = Names(objects(again.ground, unread) or ClusterState(), again.ground.names())
        for line in unread:
            say(line, err=True)
        if follow:
            with _reasons(again.places, names) as reasons:
                return _follow(again, names, interval, output, reasons)
        counts = _read_all(again.nodes(), names)
    shown = [one for one in counts if one.packets or every]
    if output == "json":
        return say_json(shown)
    return say(table(shown))


def table(counts: Iterable[DropCount]) -> str:
    """Return a table, the most packets of each node first."""
    ordered = sorted(counts, key=lambda one: (one.node, -one.packets))
    rows = [(one.node, one.source, one.what, str(one.packets), one.meaning) for one in ordered]
    return columns(_HEADER, rows) if rows else "no packet was dropped, as far as it is counted"


@contextmanager
def _reasons(
    places: Callable[[], Iterable[Place]], names: Names
) -> Iterator[Callable[[], Iterable[DropCount]]]:
    """Hear the kernel's reasons, or say why they are not heard."""
    try:
        counter = ReasonCounter(places, names)
    except KernelRefusedError as err:
        say(f"the kernel's reasons of drops are unknown: {err}", err=True)
        yield lambda: ()
        return
    try:
        yield lambda: _taken(counter)
    finally:
        counter.close()


def _taken(counter: ReasonCounter) -> Iterator[DropCount]:
    """Yield what the kernel dropped, and say how much of it was lost."""
    yield from counter.take()
    if lost := counter.lost():
        say(f"{lost} drops came faster than they were read: their reasons are unknown", err=True)


def _follow(
    again: Again,
    names: Names,
    interval: float,
    output: str,
    reasons: Callable[[], Iterable[DropCount]],
) -> None:
    try:
        before = _read_all(again.nodes(), names)
        while True:
            time.sleep(interval)
            for line in again.refresh():
                say(line, err=True)
            after = _read_all(again.nodes(), names)
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            for one in (*grown(before, after), *reasons()):
                _say_grown(one, now, output)
            before = after
    except KeyboardInterrupt:  # the way to end it
        return


def _say_grown(one: DropCount, now: str, output: str) -> None:
    if output == "json":
        return say_json({"time": now, **to_builtins(one)}, line=True)
    meaning = f"  ({one.meaning})" if one.meaning else ""
    return say(f"{now} {one.node} {one.source}: {one.what} +{one.packets}{meaning}")


def _read_all(places: tuple[Place, ...], names: Names) -> list[DropCount]:
    with ThreadPoolExecutor(max(len(places), 1)) as pool:
        parts = list(pool.map(_read, places))
    counts = [*backlog(), *(one for part in parts for one in part)]
    return [_named(one, names) for one in counts]


def _read(place: Place) -> list[DropCount]:
    """Read a node; what cannot be read is said, and stops no other node."""
    try:
        return inside(place, lambda: list(read(place.node)))
    except (OSError, PlaceError, KernelRefusedError) as err:
        say(f"{place.name} cannot be read: {err}", err=True)
        return []


def _named(one: DropCount, names: Names) -> DropCount:
    """Return a policy's count with the name of who has the address."""
    if one.source != "policy":
        return one
    head, _, address = one.what.rpartition(" ")
    return replace(one, what=f"{head} {names.shown(address)}")
