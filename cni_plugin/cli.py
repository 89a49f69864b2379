"""``podwire cni``: the warm server, and what an administrator asks of the plugin."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from cni_plugin.server import SocketInUse, serve
from cni_plugin.world import read_boot_id

DEFAULT_SOCKET = "/run/podwire/cni.sock"


@click.group(name="cni")
def main() -> None:
    """The CNI plugin."""


@main.command("serve")
@click.option(
    "--socket",
    "path",
    default=DEFAULT_SOCKET,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Unix socket that bin/podwire-cni finds the server at.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log each request.")
def serve_command(path: Path, *, verbose: bool) -> None:
    """Answer the requests of podwire-cni until SIGTERM."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level=logging.INFO if verbose else logging.WARNING,
    )
    try:
        serve(path, read_boot_id())
    except (SocketInUse, OSError) as err:
        click.echo(f"podwire cni serve: {err}", err=True)
        sys.exit(1)
