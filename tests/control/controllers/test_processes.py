"""The commands as processes: flags, signals, kill -9, and the leases of killed processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from control.api import kinds
from control.api.workload import Deployment
from control.client import Client
from control.controllers.cli import main as controllers_main
from control.scheduler.cli import main as scheduler_main
from tests.support.control.cluster import (
    Agents,
    add_node,
    client_of,
    deployment,
    ready_node,
    running,
    until,
)
from tests.support.parts import program


@pytest.fixture
def kubeconfig(api_server, tmp_path) -> Path:
    file = tmp_path / "kubeconfig"
    here = {"context": {"cluster": "c"}, "name": "x"}
    cluster = {"name": "c", "cluster": {"server": api_server.url}}
    file.write_text(
        yaml.safe_dump({"current-context": "x", "contexts": [here], "clusters": [cluster]})
    )
    return file


@asynccontextmanager
async def started(room: str, kubeconfig: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *program(room),
        "--kubeconfig",
        str(kubeconfig),
        "--leader-elect-lease-duration=600",
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def available(client: Client, replicas: int) -> bool:
    web = await client.get(kinds.DEPLOYMENT, "default", "web")
    return (web.status.available_replicas or 0) == replicas == (web.status.updated_replicas or 0)


async def test_kill_9_and_a_restart_wait_for_no_lease(api_server, kubeconfig):
    async with client_of(api_server.url) as client:
        agents = Agents(client)
        await add_node(client, ready_node("n0"))
        await client.create(kinds.DEPLOYMENT, Deployment.parse(deployment("web", 2)))
        async with (
            running(agents.run()),
            started("controllers", kubeconfig) as first,
            started("scheduler", kubeconfig) as second,
        ):
            await until(lambda: available(client, 2), seconds=60)
            for process in (first, second):
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            await client.patch(kinds.DEPLOYMENT, "default", "web", {"spec": {"replicas": 4}})
            lease = await client.get(kinds.LEASE, "kube-system", "kube-scheduler")
            async with (
                started("controllers", kubeconfig) as third,
                started("scheduler", kubeconfig) as fourth,
            ):
                # The leases of the killed processes last ten minutes.
                await until(lambda: available(client, 4), seconds=60)
                taken = await client.get(kinds.LEASE, "kube-system", "kube-scheduler")
                assert taken.spec.holder_identity != lease.spec.holder_identity
                for process in (third, fourth):
                    process.terminate()
                    assert await process.wait() == 0
        freed = await client.get(kinds.LEASE, "kube-system", "kube-scheduler")
        assert freed.spec.holder_identity == ""
        assert len(agents.started) == len(set(agents.started)) == 4


@pytest.mark.parametrize("command", [controllers_main, scheduler_main])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "Missing option '--kubeconfig'"),
        (["--kubeconfig", "/nope"], "kubeconfig /nope: cannot be read"),
        (["--kubeconfig", "x", "--leader-elect-retry-period", "60"], "want --leader-elect-lease"),
        (["--kubeconfig", "x", "--nonsense"], "No such option"),
    ],
)
def test_an_invalid_flag_gives_one_clear_line(command, flags, says):
    result = CliRunner().invoke(command, flags)
    assert result.exit_code == 2
    assert says in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("cidr", "says"),
    [
        ("10.0.0.0", "divides --cluster-cidr 10.0.0.0/32"),
        ("10.0.0.1/8", "has host bits set"),
        ("nonsense", "does not appear to be"),
        ("10.0.0.0/16,10.1.0.0/16", "at most one range"),
        ("10.0.0.0/25", "want 25 to 41"),
    ],
)
def test_invalid_ranges_are_named(cidr, says):
    result = CliRunner().invoke(controllers_main, ["--kubeconfig", "x", "--cluster-cidr", cidr])
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
