"""``podwire cloud``: reads flags and runs the controllers of a cloud."""

import asyncio
from pathlib import Path
from typing import Any

import click

from control.client import Client, ClientConfig
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
from control.cloud.lab.pools import MOST_BYTES, PoolError, read_pools
from control.cloud.provider import Provider
from control.cloud.services.controller import COMPONENT, ServiceController
from control.controllers.accounts import AccountClients


def _lab(path: Path | None) -> Provider:
    if path is None:
        return Lab(())
    try:
        with path.open() as file:
            return Lab(read_pools(file.read(MOST_BYTES + 1)))
    except (PoolError, OSError, UnicodeDecodeError) as err:
        raise click.UsageError(f"--cloud-config {path}: {err}") from err


PROVIDERS = {"lab": _lab}


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
@click.option("--cluster-name", default="kubernetes", show_default=True)
@click.option(
    "--concurrent-service-syncs",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Services whose load balancers are made at the same time.",
)
@click.option(
    "--use-service-account-credentials",
    is_flag=True,
    help="Give each controller a ServiceAccount, in kube-system, with the rights of its own.",
)
@leader_flags("cloud-controller-manager")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Give Services of type LoadBalancer their addresses."""
    provider = PROVIDERS[flags["cloud_provider"]](flags["cloud_config"])
    lead = leadership(flags)
    run(_serve(configuration(kubeconfig), lead, provider, flags), verbose=verbose)


async def _serve(
    config: ClientConfig, lead: Leadership, provider: Provider, flags: dict[str, Any]
) -> None:
    async with Client(config) as client:
        await work_as_leader(client, lead, lambda: _work(client, provider, flags))


async def _work(client: Client, provider: Provider, flags: dict[str, Any]) -> None:
    if not flags["use_service_account_credentials"]:
        return await _control(client, client, provider, flags)
    async with AccountClients(client, [COMPONENT]) as accounts:
        return await _control(client, accounts.client(COMPONENT), provider, flags)


async def _control(
    client: Client, writer: Client, provider: Provider, flags: dict[str, Any]
) -> None:
    """Run the controllers for whose work the cloud has a part."""
    async with asyncio.TaskGroup() as tasks:
        if (balancers := provider.load_balancers()) is not None:
            controller = ServiceController(
                client,
                balancers,
                flags["cluster_name"],
                workers=flags["concurrent_service_syncs"],
                writer=writer,
            )
            tasks.create_task(controller.run(), name=COMPONENT)
