"""Declares ``podwire lab node``, the commands for a running lab's nodes.

lab/node_commands.py carries them out, and is imported when one runs.
"""

import click

from lab.completion import complete_node
from lab.options import FiniteRange, group_name_option, name_option

_nodes = click.argument(
    "nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=complete_node
)


@click.group()
@group_name_option
def node() -> None:
    """Add, stop, start and remove nodes of a running lab."""


@node.command()
@name_option
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeatable.")
@click.option("--taint", "taints", multiple=True, metavar="KEY[=VALUE]:EFFECT", help="Repeatable.")
@click.option("--zone", default="", help="The node's zone, a label of its own.")
@click.option(
    "--hollow",
    type=click.IntRange(1),
    metavar="N",
    help="Add N hollow nodes, whose containers are only said to run.",
)
def add(
    name: str,
    nodes: tuple[str, ...],
    labels: tuple[str, ...],
    taints: tuple[str, ...],
    zone: str,
    hollow: int | None,
) -> None:
    """Add nodes, and wait until they are ready.

    Without a name, one node: nodeN, with the lowest free number. Hollow nodes are hollow-1,
    hollow-2 ...: they take no names, labels, taints or zone.
    """
    from lab import node_commands

    if hollow is not None:
        if nodes or labels or taints or zone:
            raise click.UsageError("--hollow takes no NODE, --label, --taint or --zone")
        node_commands.add_hollow(name, hollow)
        return
    node_commands.add(name, nodes, labels, taints, zone)


@node.command()
@name_option
@_nodes
def stop(name: str, nodes: tuple[str, ...]) -> None:
    """Switch nodes off; they keep their addresses and files.

    Their Pods stay bound to them, and are moved after five minutes, as in any cluster. Of several
    control planes (control, control2 ...) a minority may be switched off, too.
    """
    from lab import node_commands

    node_commands.stop(name, nodes)


@node.command()
@name_option
@_nodes
def start(name: str, nodes: tuple[str, ...]) -> None:
    """Start nodes that do not run, and wait until they are ready."""
    from lab import node_commands

    node_commands.start(name, nodes)


@node.command()
@name_option
@_nodes
@click.option("--force", is_flag=True, help="Remove them at once; their Pods are lost.")
@click.option(
    "--timeout",
    type=FiniteRange(0),
    default=120.0,
    show_default=True,
    help="The seconds for which Pods may take to move.",
)
def remove(name: str, nodes: tuple[str, ...], force: bool, timeout: float) -> None:
    """Drain nodes, end them, and remove all of them."""
    from lab import node_commands

    node_commands.remove(name, nodes, force=force, timeout=timeout)
