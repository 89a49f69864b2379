"""Run a component that is a client of an API server: flags, log, signals and leadership."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from control.client.election import LeaderElector, Timing
from control.client.kubeconfig import ClientConfig, KubeconfigError, load
from control.client.rest import Client
from control.client.transport import check
from control.metrics import Registry

logger = logging.getLogger(__name__)

# Objects of the API live long, and form no cycles: with Python's own thresholds (700, 10, 10) to
# look for garbage takes a fifth of the time of a process that follows a thousand Pods.
_COLLECT = (20_000, 20, 50)


@dataclass(frozen=True, slots=True)
class Leadership:
    """The leader election of a component: its Lease, or ``elect`` False for none."""

    elect: bool
    name: str
    namespace: str
    timing: Timing


def client_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add --kubeconfig and -v to a command."""
    command = click.option(
        "--kubeconfig",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="the API server and the credentials for it",
    )(command)
    return click.option("-v", "--verbose", is_flag=True, help="log every decision")(command)


def leader_flags(lease: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --leader-elect and the related flags, with upstream's names and defaults."""
    seconds = click.FloatRange(min=0.1)
    flags = (
        click.option("--leader-elect/--no-leader-elect", default=True, show_default=True),
        click.option("--leader-elect-resource-name", default=lease, show_default=True),
        click.option("--leader-elect-resource-namespace", default="kube-system", show_default=True),
        click.option(
            "--leader-elect-lease-duration", type=seconds, default=15.0, show_default=True
        ),
        click.option(
            "--leader-elect-renew-deadline", type=seconds, default=10.0, show_default=True
        ),
        click.option("--leader-elect-retry-period", type=seconds, default=2.0, show_default=True),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return add


def leadership(flags: dict[str, Any]) -> Leadership:
    """Take the values of ``leader_flags`` out of a command's arguments; raises UsageError."""
    duration = flags.pop("leader_elect_lease_duration")
    deadline = flags.pop("leader_elect_renew_deadline")
    retry = flags.pop("leader_elect_retry_period")
    if not duration > deadline > retry:
        raise click.UsageError(
            "want --leader-elect-lease-duration > --leader-elect-renew-deadline > "
            f"--leader-elect-retry-period, not {duration:g}, {deadline:g}, {retry:g}"
        )
    return Leadership(
        flags.pop("leader_elect"),
        flags.pop("leader_elect_resource_name"),
        flags.pop("leader_elect_resource_namespace"),
        Timing(duration, deadline, retry),
    )


def configuration(path: Path) -> ClientConfig:
    """Load and check a kubeconfig; raises UsageError."""
    try:
        config = load(path)
        check(config)
    except KubeconfigError as err:
        raise click.UsageError(str(err)) from err
    return config


async def work_as_leader(
    client: Client,
    leadership: Leadership,
    work: Callable[[], Awaitable[None]],
    registry: Registry,
) -> None:
    """Run ``work`` for ever: only as the leader, or always without an election.

    ``registry`` gets the metric of who leads, by the name of
    k8s.io/component-base/metrics/prometheus/clientgo/leaderelection.
    """
    if not leadership.elect:
        await work()
        return
    elector = LeaderElector(client, leadership.name, leadership.namespace, timing=leadership.timing)
    registry.lasting(
        "leader_election_master_status",
        "Gauge of if the reporting system is master of the relevant lease,"
        " 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease."
        " Please make sure to group by name.",
        "name",
        read=lambda: {(leadership.name,): float(elector.leads)},
    )
    await elector.lead(work)


def run(main: Coroutine[Any, Any, None], *, verbose: bool = False) -> None:
    """Run a component in the foreground; SIGTERM and SIGINT end it with exit code 0."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    gc.set_threshold(*_COLLECT)
    asyncio.run(_until_signal(main))


async def _until_signal(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logger.info("ended by a signal")
