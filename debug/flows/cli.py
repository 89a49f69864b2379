"""Declares ``podwire flows``, and carries it out."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from debug.again import Again
from debug.cluster import ClusterState
from debug.flows.naming import FlowFilter, FlowNames, NamedFlow
from debug.options import decided, ground, ground_options, objects, output_option
from debug.output import say, say_json
from debug.places import Place, PlaceError
from lab.shared import plain_errors

_REFRESH = 30.0  # seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@ground_options
@click.option("-f", "--follow", is_flag=True, help="Print flows as they begin, change and end.")
@click.option(
    "--service", default="", metavar="[NAMESPACE/]NAME", help="Only calls of this Service."
)
@click.option("--pod", default="", metavar="[NAMESPACE/]NAME", help="Only to or from this Pod.")
@click.option("--port", type=click.IntRange(1, 65535), help="Only with this port, in any place.")
@click.option("--protocol", default="", help="Only of this protocol: TCP, UDP, SCTP, ICMP.")
@click.option("--node", default="", help="Only of this node.")
@click.option(
    "--most",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="At most so many of each node.",
)
@output_option
def main(**options: Any) -> None:
    """Show the connections that each node's kernel tracks: who called which Service, who answers.

    A connection that passes two nodes is in both tables. STALE: it goes to what is no endpoint of
    its Service any more. Packets and bytes are there if the node counts them
    (net.netfilter.nf_conntrack_acct=1).

    With -f, one line an event, with -o json one document a line. What began before has no events,
    nor has what podwire's mode ebpf balances by itself: of that only the list tells. A node that is
    started again is followed again.
    """
    _flows(**options)


def _flows(name: str | None, here: bool, kubeconfig: Path | None, node: str, **how: Any) -> None:
    asked = FlowFilter(
        _key(how["service"]), _key(how["pod"]), how["port"] or 0, how["protocol"].upper()
    )
    with plain_errors():
        again = Again(partial(ground, *decided(name, here, kubeconfig)), node)
        names = _Names(again)
        if how["follow"]:
            return _follow(again, names, asked, how["output"])
        return _list(again.nodes(), names(), asked, how["most"], how["output"])


class _Names:
    """The names, read again now and then: Pods come and go while flows are followed."""

    def __init__(self, again: Again) -> None:
        self._again = again
        self._read()

    def __call__(self) -> FlowNames:
        """Return the names, which are not much older than ``_REFRESH``."""
        if time.monotonic() - self._then > _REFRESH:
            self._read()
        return self._names

    def _read(self) -> None:
        unread: list[str] = []
        self._names = FlowNames(objects(self._again.ground, unread) or ClusterState())
        self._then = time.monotonic()
        for line in unread:
            say(line, err=True)


def _key(text: str) -> str:
    """Return a namespace and a name."""
    return text if not text or "/" in text else f"default/{text}"


def _list(
    places: tuple[Place, ...], names: FlowNames, asked: FlowFilter, most: int, output: str
) -> None:
    from debug.flows import show, watch

    flows: list[NamedFlow] = []
    unread: list[str] = []
    left = 0
    for place in places:
        try:
            kept, more = watch.listed(place, names, asked, most)
        except (OSError, PlaceError) as err:
            unread.append(watch.unread(place, err))
            continue
        flows += kept
        left += more
    if len(unread) == len(places):
        raise PlaceError("; ".join(unread))
    for line in unread:
        say(line, err=True)
    if output == "json":
        return say_json(flows)
    say(show.shown(flows))
    return say(f"and {left} more: --most shows more of them") if left else None


def _follow(again: Again, names: _Names, asked: FlowFilter, output: str) -> None:
    from debug.flows import show, watch

    try:
        for one in watch.follow(again, names, asked):
            if isinstance(one, str):
                say(one, err=True)
            elif output == "json":
                say_json(one, line=True)
            else:
                say(show.line(one))
    except KeyboardInterrupt:  # the way to end it
        return
