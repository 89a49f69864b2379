"""``podwire speaker``: reads flags and runs the speaker of a node."""

import asyncio
import socket
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from control.api import kinds
from control.client import ApiError, Client, ClientConfig, ClientError
from control.client.backoff import Backoff
from control.client.measured import RequestMetrics
from control.client.pages import metrics_flag, pages
from control.client.process import client_flags, configuration, run
from control.cloud.speaker.bgp import Bgp, BgpError, Peer, Session, password, peer, system
from control.cloud.speaker.layer2 import Layer2
from control.cloud.speaker.metrics import measure_announced, measure_bgp, measure_layer2
from control.cloud.speaker.sockets import Link, LinkError
from control.cloud.speaker.speaker import Announcer, Speaker
from control.cloud.speaker.views import Address, node_view
from control.metrics import Registry


def _peers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Peer, ...]:
    try:
        return tuple(map(peer, values))
    except BgpError as err:
        raise click.BadParameter(str(err)) from err


def _system(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return system(value) if value else None
    except ValueError as err:
        raise click.BadParameter(str(err)) from err


def _password(_: click.Context, __: click.Parameter, path: Path | None) -> bytes:
    try:
        return password(path.read_bytes()) if path else b""
    except (BgpError, OSError) as err:
        raise click.BadParameter(f"{path}: {err}") from err


@click.command()
@client_flags
@click.option("--node-name", default=socket.gethostname, help="Default: the host name.")
@click.option("--layer2/--no-layer2", default=True, show_default=True, help="Answer ARP and NDP.")
@click.option(
    "--interface",
    default="",
    help="Where ARP and NDP are answered. Default: the interface with the node's InternalIP.",
)
@click.option(
    "--bgp-peer",
    "peers",
    multiple=True,
    callback=_peers,
    help="A router, ADDRESS,AS, that hears of addresses by BGP; may be repeated.",
)
@click.option("--bgp-local-as", "local", callback=_system, help="The nodes' autonomous system.")
@click.option(
    "--bgp-hold-time", "hold", type=click.IntRange(3, 65535), default=90, show_default=True
)
@click.option(
    "--bgp-graceful-restart",
    "restart",
    type=click.IntRange(0, 4095),
    default=0,
    show_default=True,
    help="Seconds for which routers keep this node's routes while its speaker starts again.",
)
@click.option(
    "--bgp-password-file",
    "password",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_password,
    help="A file with the password of all routers (TCP MD5). Default: none.",
)
@metrics_flag
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Tell the network which node takes the traffic of load balancers."""
    if flags["peers"] and flags["local"] is None:
        raise click.UsageError("--bgp-peer needs --bgp-local-as, the nodes' autonomous system")
    run(_serve(configuration(kubeconfig), flags), verbose=verbose)


async def _serve(config: ClientConfig, flags: dict[str, Any]) -> None:
    node, registry = flags["node_name"], Registry()
    async with (
        Client(config, RequestMetrics(registry)) as client,
        pages(flags["metrics_bind_address"], registry),
    ):
        speaker = Speaker(client, node)
        announcers: list[Announcer] = []
        with ExitStack() as open_links:
            try:
                if flags["layer2"]:
                    link = Link(flags["interface"] or await _interface(client, node))
                    open_links.callback(link.close)
                    layer2 = Layer2(node, link, speaker.report)
                    measure_layer2(registry, layer2.tally)
                    announcers.append(layer2)
                if flags["peers"]:
                    bgp = Bgp(await _session(client, node, flags))
                    measure_bgp(registry, bgp)
                    announcers.append(bgp)
            except (LinkError, BgpError) as err:
                raise click.ClickException(str(err)) from err
            measure_announced(registry, node, speaker.services, announcers)
            await speaker.run(announcers)


async def _session(client: Client, node: str, flags: dict[str, Any]) -> Session:
    own = await _addresses(client, node)
    options = (flags[name] for name in ("hold", "restart", "password"))
    return Session(node, flags["local"], flags["peers"], own, *options)


async def _addresses(client: Client, node: str) -> tuple[Address, ...]:
    """Return the node's InternalIPs, once it has one."""
    pause = Backoff()
    while True:
        try:
            found = node_view(await client.get(kinds.NODE, None, node)).addresses
            if found:
                return tuple(map(ip_address, found))
        except ClientError as err:
            if isinstance(err, ApiError) and not err.not_found:
                raise click.ClickException(f"node {node}: {err}") from err
        await asyncio.sleep(pause.next())


async def _interface(client: Client, node: str) -> str:
    """Return the interface with the node's address."""
    from control.node_network.kernel import NodeNetworkKernel  # it opens netlink

    addresses = await _addresses(client, node)
    uplink = NodeNetworkKernel().uplink(addresses)
    if uplink is None:
        raise click.ClickException(
            f"no interface has an address of node {node}, {', '.join(map(str, addresses))}; "
            "give --interface"
        )
    return str(uplink.ifname)
