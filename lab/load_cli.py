"""Declares ``podwire lab load``; lab/load.py carries it out, and is imported when it runs."""

import click

from lab.completion import complete_node
from lab.options import name_option, output_option


@click.command()
@name_option
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NODE",
    shell_complete=complete_node,
    help="Only to this node; repeatable.  [default: all nodes]",
)
@click.option(
    "--as", "alias", default="", metavar="NAME", help="Name for the only image of an archive."
)
@output_option
@click.argument("sources", metavar="IMAGE|ARCHIVE...", nargs=-1, required=True)
def load(
    name: str, nodes: tuple[str, ...], alias: str, output: str, sources: tuple[str, ...]
) -> None:
    """Bring images to the nodes of a running lab, so that Pods start without a registry.

    ARCHIVE is a file that `docker save`, `podwire image build -o` or skopeo wrote (docker-archive,
    oci-archive), or an OCI layout's folder; - is standard input. Its images have the names in it.
    IMAGE is an image of this machine (`podwire image list`). What a node has is not copied again.
    """
    from lab import load as loading

    loading.load(name, nodes, sources, alias, output)
