"""Declares ``podwire lab save`` and ``restore``; lab/saved/commands.py carries them out."""

from pathlib import Path

import click

from lab.options import name_option

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.command()
@name_option
@_file
def save(name: str, file: Path) -> None:
    """Write a lab into a file: its store, keys, volumes, and the addresses of its Pods.

    A running lab goes on. What programs write meanwhile may be cut: stop the lab first if that
    matters. The file holds keys and Secrets, and only its owner may read it.
    """
    from lab.saved import commands

    commands.save(name, file)


@click.command()
@_file
@click.option("--replace", is_flag=True, help="Remove the lab of this name, if it does not run.")
def restore(file: Path, replace: bool) -> None:
    """Make and start the lab that a file holds.

    Its Pods have their names and addresses, its Services their ClusterIPs. Restore only files that
    you trust: Pods in it may be privileged.
    """
    from lab.saved import commands

    commands.restore(file, replace=replace)
