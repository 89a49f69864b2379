"""Declares ``podwire lab watch``; lab/watch/commands.py carries it out."""

import click

from lab.options import FiniteRange, name_option


@click.command()
@name_option
@click.option("--once", is_flag=True, help="Print one picture, and end.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["drawing", "json"]),
    default="drawing",
    show_default=True,
    help="json prints a line for each picture.",
)
@click.option(
    "--interval",
    type=FiniteRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds from picture to picture, for which bytes and drops are counted.",
)
def watch(name: str, once: bool, output: str, interval: float) -> None:
    """Draw a lab, live: machines, Pods, Services and who answers for them, bytes and drops.

    Red is what somebody should look at. Ctrl-C ends it; the lab goes on.
    """
    from lab.watch import commands

    commands.watch(name, once=once, output=output, seconds=interval)
