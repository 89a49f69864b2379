"""Declares ``podwire flows``, and carries it out."""

from pathlib import Path
from typing import Any

import click

from debug.cluster import ClusterState
from debug.flows.naming import FlowFilter, FlowNames, NamedFlow
from debug.options import ground, ground_options, objects, output_option
from debug.output import say, say_json
from debug.places import Place, PlaceError
from lab.shared import plain_errors


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
    nor has what podwire's mode ebpf balances by itself: of that only the list tells.
    """
    _flows(**options)


def _flows(name: str | None, here: bool, kubeconfig: Path | None, node: str, **how: Any) -> None:
    asked = FlowFilter(
        _key(how["service"]), _key(how["pod"]), how["port"] or 0, how["protocol"].upper()
    )
    with plain_errors():
        found = ground(name, here, kubeconfig)
        places = (found.node(node),) if node else found.nodes()
        unread: list[str] = []
        names = FlowNames(objects(found, unread) or ClusterState())
        for line in unread:
            say(line, err=True)
        if how["follow"]:
            return _follow(places, names, asked, how["output"])
        return _list(places, names, asked, how["most"], how["output"])


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


def _follow(places: tuple[Place, ...], names: FlowNames, asked: FlowFilter, output: str) -> None:
    from debug.flows import show, watch

    try:
        for one in watch.follow(places, names, asked):
            if isinstance(one, str):
                say(one, err=True)
            elif output == "json":
                say_json(one, line=True)
            else:
                say(show.line(one))
    except KeyboardInterrupt:  # the way to end it
        return
