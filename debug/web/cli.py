"""Declares ``podwire web``; debug/web/commands.py carries it out."""

from pathlib import Path

import click

from debug.options import ground_options
from lab.options import FiniteRange


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@ground_options
@click.option(
    "--snapshot",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show a file that podwire snapshot has written.",
)
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show a file of podwire trace -o json as swim lanes.",
)
@click.option(
    "--live",
    metavar="FILTER",
    help="Show packets that are there, as they happen: first of this filter of podwire trace.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Of 127.0.0.1.  [default: one that is free]",
)
@click.option(
    "--interval",
    type=FiniteRange(0.2, 3600),
    default=2.0,
    show_default=True,
    help="Seconds from look to look, while a browser shows the page.",
)
def main(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    snapshot: Path | None,
    trace: Path | None,
    live: str | None,
    port: int,
    interval: float,
) -> None:
    """Show the map in a browser, live, until Ctrl-C: on this machine alone, and only to read.

    Beside it doctor's findings, Services, the mesh when it is asked for, a trace, and packets as
    they happen.

    The address that it prints opens the page once, in one browser. To look from another machine:
    ssh -L PORT:127.0.0.1:PORT MACHINE, with the same PORT at both ends.
    """
    from debug.web import commands

    if live is not None and snapshot:
        raise click.UsageError("a --snapshot has no packets: there is nothing to show --live")
    ground = name, here, kubeconfig
    commands.serve(commands.Asked(ground, snapshot, trace, live, port, interval))
