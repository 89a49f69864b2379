"""Declares ``podwire trace``; commands.py carries it out, and is imported when it runs."""

from typing import Any

import click

from debug.options import ground_options
from lab.options import FiniteRange

_CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_CONTEXT)
@ground_options
@click.option("-n", "--namespace", default="default", show_default=True, help="Of names without.")
@click.option("--handshake", is_flag=True, help="TCP: open a connection, and close it.")
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True, help="Probes.")
@click.option("--size", type=click.IntRange(0, 9000), default=0, help="Bytes of the IP packet.")
@click.option("--fragment", is_flag=True, help="Let routers fragment it (IPv4: without DF).")
@click.option("--source-port", type=click.IntRange(1, 65535), help="[default: a free one]")
@click.option("--ttl", type=click.IntRange(1, 255), default=64, show_default=True)
@click.option(
    "--wait",
    type=FiniteRange(0.05, 60),
    default=1.0,
    show_default=True,
    help="Seconds for which an answer is waited.",
)
@click.option(
    "--compare", is_flag=True, help="Put what podwire explain predicts beside what was seen."
)
@click.option("--all", "every", is_flag=True, help="Show every rule, not only those that act.")
@click.option(
    "--pcap",
    type=click.Path(dir_okay=False, writable=True),
    help="Write the packets to a pcapng file, with hops and rules as comments.",
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--live", metavar="FILTER", help="Send nothing: show packets that are there.")
@click.option("--dropped", is_flag=True, help="With --live: only packets that were dropped.")
@click.argument("source", metavar="SRC", default="")
@click.argument("destination", metavar="DST[:PORT][/PROTOCOL]", default="")
def main(**options: Any) -> None:
    """Send a packet, and show what the kernels on its way did with it.

    SRC and DST are [KIND/][NAMESPACE/]NAME of a Pod, a Service (DST only) or a node, an address,
    or "outside": the world beyond the nodes, a lab's switch. PROTOCOL is tcp, udp or
    icmp; without it tcp if there is a port, else icmp.

    The exit code is 0 if the packet arrived and an answer came back, else 1.

    With --live there is no SRC and no DST. FILTER is terms joined by "and": host X (as DST), port
    N, tcp, udp, icmp; one host is needed. It ends by Ctrl-C, or after --count packets if that is
    more than 1.
    """
    from debug.trace import commands, listen

    if options["live"] is not None:
        if options["source"]:
            raise click.UsageError("--live shows packets that are there: without SRC and DST")
        listen.listen(**options)
    elif not options["destination"]:
        raise click.UsageError("give SRC and DST, or --live FILTER")
    else:
        commands.trace(**options)
