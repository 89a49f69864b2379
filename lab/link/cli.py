"""Declares ``podwire lab link``; lab/link/commands.py carries it out."""

import click

from lab.completion import complete_logged
from lab.options import name_option, output_option


@click.command()
@name_option
@click.argument("machine", shell_complete=complete_logged)
@click.option("--delay", metavar="TIME", help="Each way: 50ms. Needs the kernel's netem.")
@click.option("--loss", metavar="PERCENT", help="Of the packets, each way: 30 or 0.5%.")
@click.option("--rate", metavar="RATE", help="Each way: 10mbit.")
@click.option("--mtu", type=int, help="The largest packet in bytes; 1500 is usual.")
@click.option("--down/--up", default=None, help="Cut the cable, or join it again.")
@click.option("--clear", is_flag=True, help="Make the cable good, before the other options.")
@output_option
def link(name: str, machine: str, output: str, **wanted: object) -> None:
    """Make the cable of a machine bad, or good again.

    MACHINE is node1 … or control. What is not named stays as it is; without an option, the command
    shows how the cable is. A machine that is started again has the same cable.
    """
    from lab.link import commands

    commands.link(name, machine, output, **wanted)
