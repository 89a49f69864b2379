"""Declares ``podwire policy``; lab/policies.py carries it out, and is imported when it runs."""

from pathlib import Path
from typing import Any

import click

from lab.completion import complete_node
from lab.options import name_option, output_option

_namespace = click.option("-n", "--namespace", help="Only Pods of this namespace.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What NetworkPolicies and ClusterNetworkPolicies admit, and what they dropped."""


@main.command()
@name_option
@click.option(
    "--node", "nodes", multiple=True, shell_complete=complete_node, help="Only of it; repeatable."
)
@click.option("--url", help="Ask one proxy's metrics address, such as http://127.0.0.1:10249.")
@_namespace
@click.option("-f", "--follow", is_flag=True, help="Print new drops as they come.")
@output_option
def drops(**options: Any) -> None:
    """List dropped packets: which Pod, which policies, the other end, and how many.

    Of all nodes of a lab; on a node, of its own proxy. With -f, PACKETS are those since the line
    before, and -o json prints one document a line.
    """
    from lab import policies

    policies.drops(**options)


_kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a cluster that is no lab.",
)


@main.command("list")
@name_option
@_kubeconfig
@click.option("-n", "--namespace", help="Only policies of this namespace.")
@output_option
def list_(**options: Any) -> None:
    """List policies: the Pods that each selects, its rules, and what it dropped.

    Then ClusterNetworkPolicies by tier and priority, unless a namespace is asked for.

    DROPPED counts packets to or from Pods that it isolates, alone or with others; only in a lab.
    """
    from lab import policies

    policies.list_policies(**options)


@main.command()
@name_option
@_kubeconfig
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="Of Pods without one."
)
@output_option
@click.argument("source")
@click.argument("target", metavar="TARGET[:PORT][/PROTOCOL]")
def explain(**options: Any) -> None:
    """Say what becomes of a flow, and which rule of which policy decides.

    SOURCE and TARGET are [NAMESPACE/]POD or an address, [ADDRESS]:PORT for IPv6. A Service is not
    asked for: rules see its endpoints. Without a port: a packet without one, as of ping.
    """
    from lab import policies

    policies.explain(**options)
