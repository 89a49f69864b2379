"""Declares ``podwire explain``; commands.py carries it out, and is imported when it runs."""

from ipaddress import ip_address
from typing import Any

import click

from debug.options import ground_options, output_option, snapshot_option

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _address(_: object, __: object, given: str | None) -> str | None:
    """Return an address in its usual form; raises BadParameter."""
    if given and "%" in given:
        raise click.BadParameter(f"{given[:60]}: a zone is of one host, and a packet has none")
    try:
        return str(ip_address(given)) if given else None
    except ValueError as err:
        raise click.BadParameter(str(err)) from err


@click.command(context_settings=_CONTEXT)
@ground_options
@snapshot_option
@click.option("-n", "--namespace", default="default", show_default=True, help="Of names without.")
@click.option("--source-port", type=click.IntRange(1, 65535), default=40000, show_default=True)
@click.option(
    "--source-address",
    metavar="ADDRESS",
    callback=_address,
    help="Of a packet that comes from outside.",
)
@click.option("--mark", type=click.IntRange(0, 0xFFFFFFFF), default=0, help="The packet's mark.")
@click.option(
    "--most",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Branches of one choice that are followed.",
)
@click.option("--new", is_flag=True, help="As if no connection were tracked yet.")
@click.option(
    "--packet",
    is_flag=True,
    help="A packet as podwire trace sends it: no process calls, so no program sees a call.",
)
@click.option("--no-reply", is_flag=True, help="Leave out the way of the answer.")
@output_option
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST[:PORT][/PROTOCOL]")
def main(**options: Any) -> None:
    """Show what the kernels would do with a packet, from what is installed; none is sent.

    SRC and DST are [KIND/][NAMESPACE/]NAME of a Pod, a Service (DST only) or a node, an address,
    or "outside": the world beyond the nodes, a lab's switch. PROTOCOL is tcp, udp or
    icmp; without it tcp if there is a port, else icmp.

    The exit code is 0 if the packet and its answer arrive by every likely way, 1 if not, 3 if
    something that decides is unknown.
    """
    from debug.explain import commands

    commands.explain(**options)
