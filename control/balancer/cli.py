"""``podwire balancer``: reads flags and runs a node's balancer."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import click

from control.balancer.relay import Relay
from control.balancer.servers import Server, Servers, follow
from control.client import Client, ClientConfig
from control.client.process import client_flags, configuration, run


def _servers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[Server]:
    found: list[Server] = []
    for text in values:
        host, _colon, port = text.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) <= 65535:
            raise click.BadParameter(f"{text}: want HOST:PORT, such as 192.0.2.1:6443")
        found.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@client_flags
@click.option(
    "--certificate-authority",
    "authority",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority of the API servers' certificates.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    required=True,
    callback=_servers,
    metavar="HOST:PORT",
    help="An API server to begin with; repeatable. The cluster tells of the others.",
)
@click.option("--listen", default="127.0.0.1:6444", show_default=True, metavar="ADDRESS:PORT")
@click.option("--listen-fd", type=click.IntRange(3), help="An inherited socket, instead.")
@click.option(
    "--known",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps which servers there are.",
)
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Lead this node's connections to the API servers that are ready.

    The kubeconfig is the node's, whose server may be this balancer.
    """
    run(_serve(configuration(kubeconfig), **flags), verbose=verbose)


async def _serve(
    config: ClientConfig,
    *,
    authority: Path,
    servers: list[Server],
    listen: str,
    listen_fd: int | None,
    known: Path | None,
) -> None:
    listening = _open(listen, listen_fd)
    listening.setblocking(False)
    relay = Relay()
    pool = Servers(relay, ssl.create_default_context(cafile=str(authority)), known)
    async with Client(config) as client, asyncio.TaskGroup() as tasks:
        pool.begin(servers)
        tasks.create_task(relay.serve(listening))
        tasks.create_task(follow(client, pool))


def _open(listen: str, descriptor: int | None) -> socket.socket:
    """Return the listening socket; raises OSError."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    return socket.create_server((bare, int(port)), family=family, backlog=512)
