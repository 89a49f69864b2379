"""What the commands share that talk to an API server: flags, log format, signals, leadership."""

import asyncio
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leadership:
    """Whether, and by which Lease, replicas of a part agree on one that works."""

    elect: bool
    name: str
    namespace: str
    timing: Timing


def client_flags(command: Callable[..., None]) -> Callable[..., None]:
    """--kubeconfig and -v."""
    command = click.option(
        "--kubeconfig",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="which API server, and who we are there",
    )(command)
    return click.option("-v", "--verbose", is_flag=True, help="log every decision")(command)


def leader_flags(lease: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """--leader-elect and its kin, with upstream's names and defaults."""
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
    """The values of ``leader_flags``, taken from a command's arguments; raises UsageError."""
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
    """A usable kubeconfig; raises UsageError."""
    try:
        config = load(path)
        check(config)
    except KubeconfigError as err:
        raise click.UsageError(str(err)) from err
    return config


async def work_as_leader(
    client: Client, leadership: Leadership, work: Callable[[], Awaitable[None]]
) -> None:
    """Work for ever: whenever we lead, or always if there is no election."""
    if not leadership.elect:
        await work()
        return
    elector = LeaderElector(client, leadership.name, leadership.namespace, timing=leadership.timing)
    await elector.lead(work)


def run(main: Coroutine[Any, Any, None], *, verbose: bool = False) -> None:
    """Run a part in the foreground until SIGTERM or SIGINT, which end it with code 0."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    asyncio.run(_until_signal(main))


async def _until_signal(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logger.info("asked to end")
