"""/metrics of the controllers and of the scheduler."""

import asyncio
import socket
from collections.abc import Mapping

import aiohttp
import click
import pytest

from control.api import kinds
from control.api.workload import ReplicaSet
from control.client.election import Timing
from control.client.pages import pages
from control.client.process import Leadership, work_as_leader
from control.controllers.loop import Manager
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController
from control.controllers.replicaset import ReplicaSetController
from control.metrics import Registry
from control.scheduler.loop import Scheduler
from control.server.wire.exposition import samples
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import (
    add_node,
    client_of,
    deployment,
    ready_node,
    running,
    until,
)

NAME = "replicaset-controller"


async def read(port: int) -> Mapping[tuple[str, ...], float]:
    """Read /metrics: values by name and labels."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        found = samples(await answer.text())
        return {(it.name, *it.labels.values()): it.value for it in found}


async def test_queues_and_tries_are_counted(api_server: ApiServer):
    registry = Registry()
    async with client_of(api_server.url) as client, pages("127.0.0.1:0", registry) as port:
        manager = Manager(
            client,
            [ReplicaSetController(), NodeLifecycleController(Grace(86400, 86400))],
            registry=registry,
        )
        scheduler = Scheduler(client, registry=registry)
        await add_node(client, ready_node("n"))
        async with running(manager.run(), scheduler.run()):
            await client.create(kinds.REPLICA_SET, ReplicaSet.parse(deployment("d", 3)))

            async def is_placed() -> bool:
                pods = (await client.list(kinds.POD, "default")).items
                return len(pods) == 3 and all(pod.spec.node_name for pod in pods)

            await until(is_placed, "three Pods have a node")

            async def has_ended() -> bool:
                return ("workqueue_work_duration_seconds_count", NAME) in await read(port)

            await until(has_ended)

            async def are_counted() -> bool:  # a binding is seen before its answer
                return (await read(port)).get(("scheduler_pod_scheduling_attempts_count",)) == 3

            await until(are_counted)
            found = await read(port)
    assert found["workqueue_adds_total", NAME] >= 1
    assert found["workqueue_depth", NAME] >= 0
    tries = "scheduler_schedule_attempts_total", "default-scheduler", "scheduled"
    assert found[tries] >= 3
    count = "scheduler_scheduling_attempt_duration_seconds_count", *tries[1:]
    assert found[count] == found[tries]
    assert found["scheduler_pending_pods", "unschedulable"] == 0
    whole = "scheduler_pod_scheduling_sli_duration_seconds_count"
    assert sum(value for (name, *_), value in found.items() if name == whole) == 3


async def test_who_leads_is_told_by_upstreams_name(api_server: ApiServer):
    registry, working = Registry(), asyncio.Event()
    lead = Leadership(elect=True, name="part", namespace="kube-system", timing=Timing())

    async def work() -> None:
        registry.reset()
        working.set()
        await asyncio.Event().wait()

    def leads() -> float:
        found = {it.name: it for it in samples(registry.text())}["leader_election_master_status"]
        assert found.labels == {"name": "part"}
        return found.value

    async with client_of(api_server.url) as client:
        task = asyncio.create_task(work_as_leader(client, lead, work, registry))
        await asyncio.sleep(0)  # it begins, and asks for the Lease
        assert leads() == 0
        await working.wait()
        assert leads() == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert leads() == 0


async def test_an_address_that_is_taken_does_not_stop_the_work():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with pages(f"127.0.0.1:{taken.getsockname()[1]}", Registry()) as port:
            assert port == 0
    async with pages("", Registry()) as port:
        assert port == 0


async def test_a_malformed_address_is_refused():
    with pytest.raises(click.UsageError, match="is not HOST:PORT"):
        async with pages("nowhere", Registry()):
            raise AssertionError("it was served")
