"""Declares ``podwire capture``; commands.py carries it out, and is imported when it runs."""

from typing import Any

import click

from debug.options import ground_options, output_option
from lab.options import FiniteRange

_CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_CONTEXT)
@ground_options
@click.option("-n", "--namespace", default="default", show_default=True, help="Of names without.")
@click.option("--hops", is_flag=True, help="Also on the links of all nodes and of the Pods asked.")
@click.option("--filter", "asked", metavar="FILTER", default="", help="Only these packets.")
@click.option(
    "-w",
    "--write",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write them to a pcapng file, or to - for standard output.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many packets.")
@click.option("--for", "seconds", type=FiniteRange(0.1), help="End after so many seconds.")
@output_option
@click.argument("pod", metavar="[NAMESPACE/]POD")
def main(**options: Any) -> None:
    """Show the packets of a Pod as they pass its links, or write them for Wireshark.

    FILTER is terms joined by "and": port N, tcp, udp, icmp, host X, where X is an address, or
    [KIND/][NAMESPACE/]NAME of a Pod, a Service or a node. A Service stands for its endpoints too.

    With --hops each packet is seen on every link that it passes, before and after what changes
    its addresses, as long as the Pod's is in it. It ends by Ctrl-C, --count or --for.
    """
    from debug.capture import commands

    commands.capture(**options)
