"""Declares ``podwire policy``; lab/policies.py carries it out, and is imported when it runs."""

from typing import Any

import click

from lab.completion import complete_node
from lab.options import name_option, output_option

_namespace = click.option("-n", "--namespace", help="Only Pods of this namespace.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What NetworkPolicies admit, and what they dropped."""


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
