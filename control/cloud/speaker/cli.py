"""``podwire speaker``: reads flags and runs the speaker of a node."""

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path

import click

from control.api import kinds
from control.client import ApiError, Client, ClientConfig, ClientError
from control.client.backoff import Backoff
from control.client.process import client_flags, configuration, run
from control.cloud.speaker.sockets import Link, LinkError
from control.cloud.speaker.speaker import Speaker
from control.cloud.speaker.views import node_view


@click.command()
@client_flags
@click.option("--node-name", default=socket.gethostname, help="Default: the host name.")
@click.option(
    "--interface",
    default="",
    help="Where addresses are announced. Default: the interface with the node's InternalIP.",
)
def main(kubeconfig: Path, verbose: bool, node_name: str, interface: str) -> None:
    """Answer ARP and NDP for the addresses of load balancers that this node leads."""
    run(_serve(configuration(kubeconfig), node_name, interface), verbose=verbose)


async def _serve(config: ClientConfig, node: str, interface: str) -> None:
    async with Client(config) as client:
        try:
            link = Link(interface or await _interface(client, node))
        except LinkError as err:
            raise click.ClickException(str(err)) from err
        try:
            await Speaker(client, node, link).run()
        finally:
            link.close()


async def _interface(client: Client, node: str) -> str:
    """Return the interface with the node's address, once the node has one."""
    from control.node_network.kernel import NodeNetworkKernel  # it opens netlink

    pause = Backoff()
    while True:
        try:
            addresses = node_view(await client.get(kinds.NODE, None, node)).addresses
        except ClientError as err:
            if isinstance(err, ApiError) and not err.not_found:
                raise click.ClickException(f"node {node}: {err}") from err
            addresses = ()
        uplink = NodeNetworkKernel().uplink(map(ip_address, addresses)) if addresses else None
        if uplink is not None:
            return str(uplink.ifname)
        if addresses:
            raise click.ClickException(
                f"no interface has an address of node {node}, {', '.join(addresses)}; "
                "give --interface"
            )
        await asyncio.sleep(pause.next())
