"""``podwire scheduler``: reads flags and runs a scheduler."""

from pathlib import Path
from typing import Any

import click

from control.client import Client, ClientConfig
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
from control.metrics import Registry
from control.scheduler.loop import Scheduler
from control.scheduler.queue import SchedulingQueue

_SECONDS = click.FloatRange(min=0.01)


@click.command()
@client_flags
@click.option(
    "--scheduler-name",
    default="default-scheduler",
    show_default=True,
    help="Schedule the Pods with this spec.schedulerName.",
)
@click.option(
    "--pod-initial-backoff-seconds",
    type=_SECONDS,
    default=0.1,
    show_default=True,
    help="Wait of a Pod after its first failure.",
)
@click.option("--pod-max-backoff-seconds", type=_SECONDS, default=10.0, show_default=True)
@metrics_flag
@leader_flags("kube-scheduler")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Bind each Pod to a node."""
    lead = leadership(flags)
    run(_serve(configuration(kubeconfig), lead, flags), verbose=verbose)


async def _serve(config: ClientConfig, lead: Leadership, flags: dict[str, Any]) -> None:
    registry = Registry()
    async with (
        Client(config, RequestMetrics(registry)) as client,
        pages(flags["metrics_bind_address"], registry),
    ):

        async def work() -> None:
            registry.reset()
            # Everything is made anew: a new leader starts from a list, not from an old cache.
            backoff = flags["pod_initial_backoff_seconds"], flags["pod_max_backoff_seconds"]
            queue = SchedulingQueue(*backoff)
            await Scheduler(client, flags["scheduler_name"], queue, registry=registry).run()

        await work_as_leader(client, lead, work, registry)
