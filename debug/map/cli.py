"""Declares ``podwire map``; debug/map/commands.py carries it out."""

from pathlib import Path

import click

from debug.options import ground_options, output_option

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
