"""Declares ``podwire map``; debug/map/commands.py carries it out."""

from pathlib import Path

import click

from debug.map.effort import Effort
from debug.options import ground_options, output_option
from lab.options import FiniteRange

snapshot_option = click.option(
    "--snapshot",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a file that podwire snapshot has written, instead of this machine's state.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Draw the network: its topology, a Service's endpoints, and how nodes reach each other."""


@main.command()
@ground_options
@snapshot_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["drawing", "json", "svg"]),
    default="drawing",
    show_default=True,
)
def topology(
    name: str | None, here: bool, kubeconfig: Path | None, snapshot: Path | None, output: str
) -> None:
    """Draw namespaces, their devices, and what joins them: veth pairs, tunnels, uplinks, routes.

    Red is broken: a device that is down or has no carrier, or an address that two places have.
    Blue is what could not be read. The command only reads.
    """
    from debug.map import commands

    commands.topology((name, here, kubeconfig), snapshot, output)


@main.command()
@ground_options
@snapshot_option
@output_option
@click.argument("service", metavar="[NAMESPACE/]NAME")
def service(
    service: str,
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    snapshot: Path | None,
    output: str,
) -> None:
    """Follow a Service to its endpoints: who gets which share of the connections of each node.

    Shares are what the nodes' proxies compute, with weights, topology hints and traffic policies.
    CONNECTIONS are those that the nodes track now; a snapshot has none, and in eBPF mode
    connections have their endpoint before they are tracked.
    """
    from debug.map import commands

    commands.service((name, here, kubeconfig), snapshot, service, output)


@main.command()
@ground_options
@click.option("--count", type=click.IntRange(1, 20), default=3, show_default=True, help="Packets.")
@click.option(
    "--patience",
    type=FiniteRange(0.01, 5),
    default=0.3,
    show_default=True,
    help="Seconds that an answer may take.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "svg"]),
    default="table",
    show_default=True,
)
def mesh(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    count: int,
    patience: float,
    output: str,
) -> None:
    """Measure from each node to each other, and from a Pod of each to one of each other.

    Loss, the median latency, and the size of the largest IP packet that passes with "don't
    fragment" set. The packets are ICMP echoes, a few for each way; a policy may drop those of Pods.
    """
    from debug.map import commands

    commands.mesh((name, here, kubeconfig), Effort(count, patience), output)
