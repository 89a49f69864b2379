"""Declares ``podwire top``, and carries it out."""

from functools import partial
from pathlib import Path

import click

from debug.again import Again
from debug.options import decided, ground, ground_options, output_option
from debug.output import drawn, say_json
from lab.options import FiniteRange
from lab.shared import plain_errors


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@ground_options
@click.option("--once", is_flag=True, help="Print one interval, and end.")
@click.option(
    "--interval",
    type=FiniteRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds for which rates are counted.",
)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=40, show_default=True)
@output_option
def main(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    once: bool,
    interval: float,
    lines: int,
    output: str,
) -> None:
    """Show which Services are called most, live, and which endpoints answer.

    Of all nodes, by what their kernels track: connections that are open, new ones a second, packets
    and bytes a second where the node counts them (net.netfilter.nf_conntrack_acct=1). A Service is
    followed by its endpoints. No proxy has to run, or to count.

    In podwire's mode ebpf the programs' own count is added: what they balance at sockets has no
    endpoint here, because nothing tracks it. -o json prints one document an interval. Ctrl-C ends
    it.
    """
    where = decided(name, here, kubeconfig)
    with plain_errors():
        try:
            _run(Again(partial(ground, *where)), once, interval, lines, output)
        except KeyboardInterrupt:  # the way to end it
            return


def _run(again: Again, once: bool, interval: float, lines: int, output: str) -> None:
    from rich.console import Console
    from rich.live import Live

    from debug.top.draw import draw
    from debug.top.gather import intervals

    console = Console()
    every = intervals(again, interval)
    if output == "json" or once or not console.is_terminal:
        for top in every:
            if output == "json":
                say_json(top, line=True)
            else:
                console.print(drawn(console, draw(top, lines)))
            if once:
                return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for top in every:
            live.update(drawn(console, draw(top, lines)), refresh=True)
