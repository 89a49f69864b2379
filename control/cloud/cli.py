"""``podwire cloud``: reads flags and runs the controllers of a cloud."""

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from control.api import kinds
from control.api.node import Node
from control.client import Client, ClientConfig, Informer
from control.client.measured import RequestMetrics
from control.client.pages import metrics_flag, pages
from control.client.process import (
    Leadership,
    client_flags,
    configuration,
    leader_flags,
    leadership,
    run,
    work_as_leader,
)
from control.cloud.lab.balancers import Lab
from control.cloud.lab.pools import PoolError, PoolFile
from control.cloud.nodes import controller as nodes
from control.cloud.nodes import lifecycle
from control.cloud.provider import Provider
from control.cloud.routes import controller as routes
from control.cloud.routes.decide import Cidr
from control.cloud.services import controller as services
from control.controllers.accounts import AccountClients
from control.metrics import Registry

_COMPONENTS = services.COMPONENT, nodes.COMPONENT, lifecycle.COMPONENT, routes.COMPONENT


def _lab(path: Path | None, machines: Path | None) -> Provider:
    if path is None:
        return Lab((), machines)
    try:
        file = PoolFile(path)
        return Lab(file.read(), machines, file)
    except (PoolError, OSError, UnicodeDecodeError) as err:
        raise click.UsageError(f"--cloud-config {path}: {err}") from err


PROVIDERS = {"lab": _lab}


def _cidrs(_: click.Context, __: click.Parameter, value: str) -> tuple[Cidr, ...]:
    try:
        networks = tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError as err:
        raise click.BadParameter(f"{err}; write it as 10.244.0.0/16,fd00:10:244::/56") from err
    if len({network.version for network in networks}) < len(networks):
        raise click.BadParameter("want at most one range for each of IPv4 and IPv6")
    return networks


def _switch(name: str, *, default: bool, text: str) -> Callable[[Any], Any]:
    """Make a flag of Go's form: ``--name`` is true, and ``--name=false`` is not."""
    form: dict[str, Any] = {"is_flag": False, "flag_value": True, "metavar": "[true|false]"}
    return click.option(name, type=bool, default=default, show_default=True, help=text, **form)


@click.command()
@client_flags
@click.option(
    "--cloud-provider",
    type=click.Choice(list(PROVIDERS)),
    default="lab",
    show_default=True,
    help="The cloud; lab gives addresses of pools.",
)
@click.option(
    "--cloud-config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The provider's file; of lab, pools as MetalLB's IPAddressPools. Default: no pool.",
)
@click.option(
    "--machines",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of lab: the folder of machines.json and running.json. Default: Nodes are left alone.",
)
@click.option("--cluster-name", default="kubernetes", show_default=True)
@click.option(
    "--concurrent-service-syncs",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Services whose load balancers are made at the same time.",
)
@click.option(
    "--concurrent-node-syncs",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Nodes that are initialized at the same time.",
)
@click.option(
    "--node-status-update-frequency",
    type=click.FloatRange(min=0.1),
    default=300.0,
    show_default=True,
    help="Seconds from one look at all Nodes' addresses to the next.",
)
@click.option(
    "--node-monitor-period",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds from one look at the machines of Nodes that are not ready to the next.",
)
@_switch(
    "--configure-cloud-routes",
    default=True,
    text="Give each Pod range of a Node a route of the cloud, if the cloud has routes.",
)
@_switch(
    "--allocate-node-cidrs",
    default=False,
    text="Taken, and without effect, as upstream: podwire controllers gives Nodes their ranges.",
)
@click.option(
    "--cluster-cidr",
    "cidrs",
    default="",
    callback=_cidrs,
    metavar="CIDR[,CIDR6]",
    help="The Pod ranges; routes of the cloud within them that no Node needs are deleted.",
)
@click.option(
    "--route-reconciliation-period",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds from one look at all routes to the next.",
)
@click.option(
    "--use-service-account-credentials",
    is_flag=True,
    help="Give each controller a ServiceAccount, in kube-system, with the rights of its own.",
)
@metrics_flag
@leader_flags("cloud-controller-manager")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Give Services their load balancers, and Nodes their routes and what their cloud knows."""
    provider = PROVIDERS[flags["cloud_provider"]](flags["cloud_config"], flags["machines"])
    if not flags["configure_cloud_routes"]:
        flags["cidrs"] = ()
    elif provider.routes() is not None and not flags["cidrs"]:
        raise click.UsageError(
            "the cloud has routes: give --cluster-cidr, the Pod ranges, or "
            "--configure-cloud-routes=false"
        )
    lead = leadership(flags)
    flags["lease"] = lead.namespace, lead.name
    run(_serve(configuration(kubeconfig), lead, provider, flags), verbose=verbose)


async def _serve(
    config: ClientConfig, lead: Leadership, provider: Provider, flags: dict[str, Any]
) -> None:
    registry = Registry()
    async with (
        Client(config, RequestMetrics(registry)) as client,
        pages(flags["metrics_bind_address"], registry),
    ):

        async def work() -> None:
            registry.reset()  # a new leader counts anew
            await _work(client, provider, registry, flags)

        await work_as_leader(client, lead, work, registry)


async def _work(
    client: Client, provider: Provider, registry: Registry, flags: dict[str, Any]
) -> None:
    if not flags["use_service_account_credentials"]:
        return await _control(client, lambda _: client, provider, registry, flags)
    async with AccountClients(client, _COMPONENTS) as accounts:
        return await _control(client, accounts.client, provider, registry, flags)


async def _control(
    client: Client,
    writer: Callable[[str], Client],
    provider: Provider,
    registry: Registry,
    flags: dict[str, Any],
) -> None:
    """Run the controllers for whose work the cloud has a part; ``writer`` is each one's client."""
    registry.reset()  # this process may have led before
    balancers = provider.load_balancers()
    informer = Informer(client, kinds.NODE)
    of_nodes = list(_of_nodes(informer, writer, provider, registry, flags))
    async with asyncio.TaskGroup() as tasks:
        if balancers is not None:
            balancers.measure(registry)
            service = services.ServiceController(
                client,
                balancers,
                flags["cluster_name"],
                workers=flags["concurrent_service_syncs"],
                writer=writer(services.COMPONENT),
                registry=registry,
                lease=flags["lease"],
            )
            tasks.create_task(service.run(), name=services.COMPONENT)
        if of_nodes:
            tasks.create_task(informer.run())
        for name, controller in of_nodes:
            tasks.create_task(controller.run(), name=name)


_OfNodes = nodes.NodeController | lifecycle.NodeLifecycleController | routes.RouteController


def _of_nodes(
    informer: Informer[Node, Node],
    writer: Callable[[str], Client],
    provider: Provider,
    registry: Registry,
    flags: dict[str, Any],
) -> Iterator[tuple[str, _OfNodes]]:
    """Yield the controllers that follow Nodes, with their names."""
    if (instances := provider.instances()) is not None:
        own = {"workers": flags["concurrent_node_syncs"]}
        own |= {"period": flags["node_status_update_frequency"]}
        mine = writer(nodes.COMPONENT)
        yield nodes.COMPONENT, nodes.NodeController(informer, instances, mine, registry, **own)
        period = flags["node_monitor_period"]
        mine = writer(lifecycle.COMPONENT)
        life = lifecycle.NodeLifecycleController(informer, instances, mine, period=period)
        yield lifecycle.COMPONENT, life
    if flags["cidrs"] and (ways := provider.routes()) is not None:
        cluster = flags["cluster_name"], flags["cidrs"]
        mine = writer(routes.COMPONENT)
        period = flags["route_reconciliation_period"]
        route = routes.RouteController(informer, ways, *cluster, mine, registry, period=period)
        yield routes.COMPONENT, route
