"""Controllers and scheduler with a real API server: they converge, even if they are killed."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from control.api import kinds
from control.api.cluster import ConfigMap, Lease, Namespace
from control.api.pod import Pod
from control.api.service import Service
from control.api.times import rfc3339
from control.api.workload import DaemonSet, Deployment
from control.client import ApiError, Client, Informer
from control.controllers.loop import Manager
from control.controllers.nodes.cidr import ClusterRange
from control.controllers.nodes.lifecycle import LEASES, Grace
from control.controllers.pods import is_ready
from control.controllers.table import ControllerSettings, controllers
from control.scheduler.loop import Scheduler
from tests.support.control.cluster import (
    Agents,
    add_node,
    client_of,
    deployment,
    meta,
    ready_node,
    running,
    until,
)

SETTINGS = ControllerSettings(ranges=(ClusterRange(ip_network("10.244.0.0/16"), 24),))


@dataclass
class Cluster:
    client: Client
    agents: Agents

    async def available(self, name: str, replicas: int) -> bool:
        found = await self.client.get(kinds.DEPLOYMENT, "default", name)
        status = found.status
        counts = (status.replicas, status.updated_replicas, status.available_replicas)
        seen = (status.observed_generation or 0) >= (found.metadata.generation or 0)
        return seen and all((count or 0) == replicas for count in counts)

    async def deployed(self, name: str, replicas: int) -> None:
        async def holds() -> bool:
            return await self.available(name, replicas)

        await until(holds, f"{name} has {replicas} available")

    async def pods(self) -> list[Pod]:
        return list((await self.client.list(kinds.POD)).items)

    async def change(self, name: str, **spec: Any) -> None:
        await self.client.patch(kinds.DEPLOYMENT, "default", name, {"spec": spec})

    async def left(self, *wanted: kinds.Kind) -> int:
        return sum([len((await self.client.list(kind, "default")).items) for kind in wanted])

    async def gone(self, *wanted: kinds.Kind) -> None:
        async def holds() -> bool:
            return await self.left(*wanted) == 0

        await until(holds, f"no {wanted[0].plural} left")


def parts(client: Client) -> tuple[Any, ...]:
    return Manager(client, controllers(SETTINGS)).run(), Scheduler(client).run()


@pytest.fixture
async def bare(api_server) -> AsyncIterator[Cluster]:
    """An API server, three nodes and their agents."""
    async with client_of(api_server.url) as client:
        agents = Agents(client)
        for i in range(3):
            await add_node(client, ready_node(f"n{i}"))
        async with running(agents.run()):
            yield Cluster(client, agents)


@pytest.fixture
async def cluster(bare) -> AsyncIterator[Cluster]:
    async with running(*parts(bare.client)):
        yield bare


def web(replicas: int = 3, **more: Any) -> Deployment:
    return Deployment.parse(deployment("web", replicas, **more))


def template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": image}]}}


def service() -> Service:
    return Service.parse(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
    )


async def test_a_deployment_runs_spread_over_nodes_that_have_ranges(cluster):
    await cluster.client.create(kinds.DEPLOYMENT, web())
    await cluster.deployed("web", 3)
    assert {p.spec.node_name for p in await cluster.pods()} == {"n0", "n1", "n2"}

    async def ranged() -> bool:
        nodes = (await cluster.client.list(kinds.NODE)).items
        return len({node.spec.pod_cidr for node in nodes} - {None}) == 3

    await until(ranged)
    account = await cluster.client.get(kinds.SERVICE_ACCOUNT, "default", "default")
    assert account.metadata.name == "default"


async def test_scaling_up_down_and_deleting(cluster):
    await cluster.client.create(kinds.DEPLOYMENT, web(1))
    await cluster.deployed("web", 1)
    (first,) = await cluster.pods()
    await cluster.change("web", replicas=5)
    await cluster.deployed("web", 5)
    await cluster.change("web", replicas=2)
    await cluster.deployed("web", 2)

    async def two() -> bool:
        return len(await cluster.pods()) == 2

    await until(two)
    assert len(cluster.agents.started) == 5 and first.metadata.uid in cluster.agents.started
    await cluster.client.delete(kinds.DEPLOYMENT, "default", "web", propagation="Background")
    await cluster.gone(kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.POD)


async def test_foreground_deletion_waits_and_orphans_stay(cluster):
    await cluster.client.create(kinds.DEPLOYMENT, web(2))
    await cluster.deployed("web", 2)
    await cluster.client.delete(kinds.DEPLOYMENT, "default", "web", propagation="Orphan")
    await cluster.gone(kinds.DEPLOYMENT)
    (kept,) = (await cluster.client.list(kinds.REPLICA_SET)).items
    assert not kept.metadata.owner_references and len(await cluster.pods()) == 2
    await cluster.client.delete(
        kinds.REPLICA_SET, "default", kept.metadata.name, propagation="Foreground"
    )
    await cluster.gone(kinds.REPLICA_SET)
    assert not await cluster.pods()


@asynccontextmanager
async def watched_endpoints(client: Client) -> AsyncIterator[list[int]]:
    """Record the number of the Service's ready endpoints at every change."""
    seen: list[int] = []
    informer = Informer(client, kinds.ENDPOINT_SLICE)

    def look(_: object, __: object) -> None:
        found = [e for s in informer.snapshot().values() for e in s.endpoints]
        seen.append(sum(bool(e.conditions.ready) for e in found))

    informer.subscribe(look)
    async with running(informer.run()):
        yield seen


async def test_a_rollout_loses_no_ready_endpoint_and_can_be_undone(cluster):
    await cluster.client.create(kinds.SERVICE, service())
    await cluster.client.create(kinds.DEPLOYMENT, web(4))
    await cluster.deployed("web", 4)
    async with watched_endpoints(cluster.client) as seen:
        await until(lambda: seen[-1:] == [4])
        del seen[:]
        await cluster.change("web", template=template("two"))
        await cluster.deployed("web", 4)
        await cluster.change("web", template=template("one"))
        await cluster.deployed("web", 4)
        await until(lambda: seen[-1:] == [4])
    assert min(seen) >= 3  # 25 % of 4 Pods may be unavailable
    sets = (await cluster.client.list(kinds.REPLICA_SET)).items
    assert sorted(
        (rs.spec.replicas, rs.metadata.annotations["deployment.kubernetes.io/revision"])
        for rs in sets
    ) == [(0, "2"), (4, "3")]


async def test_unschedulable_pods_say_so_and_are_placed_later(cluster):
    needs = {"requests": {"cpu": "3"}}
    big = {"spec": {"containers": [{"name": "c", "image": "x", "resources": needs}]}}
    await cluster.client.create(kinds.DEPLOYMENT, web(4))
    await cluster.change("web", template=big, strategy={"type": "Recreate", "rollingUpdate": None})
    message = (
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: "
        "3 No preemption victims found for incoming pod."
    )

    async def said() -> bool:
        conditions = [c for p in await cluster.pods() for c in p.status.conditions]
        events = (await cluster.client.list(kinds.EVENT, "default")).items
        shown = any((c.reason, c.message) == ("Unschedulable", message) for c in conditions)
        return shown and any(e.message == message for e in events)

    await until(said)
    await add_node(cluster.client, ready_node("n9"))
    await cluster.deployed("web", 4)


async def test_another_schedulers_pods_are_left_alone(cluster):
    other = {"spec": {"schedulerName": "mine"} | template("x")["spec"]}
    await cluster.client.create(kinds.DEPLOYMENT, web(1))
    await cluster.change("web", template=other)
    await cluster.client.create(kinds.DEPLOYMENT, Deployment.parse(deployment("next", 1)))
    await cluster.deployed("next", 1)
    waiting: list[Pod] = []

    async def is_there() -> bool:
        waiting[:] = [p for p in await cluster.pods() if p.spec.scheduler_name == "mine"]
        return bool(waiting)

    await until(is_there)
    assert not any(p.spec.node_name or p.status.conditions for p in waiting)


async def test_daemons_follow_the_nodes(cluster):
    wire = deployment("agent", 0)
    del wire["spec"]["replicas"]
    await cluster.client.create(kinds.DAEMON_SET, DaemonSet.parse(wire))

    async def ready(count: int) -> bool:
        found = await cluster.client.get(kinds.DAEMON_SET, "default", "agent")
        return found.status.number_ready == found.status.desired_number_scheduled == count

    await until(lambda: ready(3))
    await add_node(cluster.client, ready_node("n9"))
    await until(lambda: ready(4))
    assert {p.spec.node_name for p in await cluster.pods()} == {"n0", "n1", "n2", "n9"}


async def test_a_namespace_is_deleted_with_its_contents(cluster):
    await cluster.client.create(kinds.NAMESPACE, Namespace(metadata=meta("x", None)))
    wire = deployment("web", 2)
    wire["metadata"]["namespace"] = "x"
    held = ConfigMap(metadata=meta("held", "x", finalizers=["example.com/mine"]))
    await cluster.client.create(kinds.DEPLOYMENT, Deployment.parse(wire))
    await cluster.client.create(kinds.CONFIG_MAP, held)

    async def both_run() -> bool:
        found = (await cluster.client.list(kinds.POD, "x")).items
        return len(found) == 2 and all(map(is_ready, found))

    await until(both_run)
    await cluster.client.delete(kinds.NAMESPACE, None, "x")

    async def only_the_held_is_left() -> bool:
        pods = (await cluster.client.list(kinds.POD, "x")).items
        return not pods and len((await cluster.client.list(kinds.CONFIG_MAP, "x")).items) == 1

    await until(only_the_held_is_left)
    with pytest.raises(ApiError):
        await cluster.client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("new", "x")))
    await cluster.client.patch(kinds.CONFIG_MAP, "x", "held", {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        found = (await cluster.client.list(kinds.NAMESPACE)).items
        return "x" not in {item.metadata.name for item in found}

    await until(gone)


class Mortal:
    """Controllers and scheduler that are killed at any await, and started again.

    A request that was sent has its effect, even if its answer was not received.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._dice = random.Random(seed)
        self.calm = asyncio.Event()
        self.deaths = 0

    async def died_enough(self) -> bool:
        return self.deaths > 2

    async def run(self) -> None:
        while not self.calm.is_set():
            # Each life is longer than the one before, so that a slow machine gets there too.
            await self._live(asyncio.sleep(self._dice.uniform(0.0, 0.15 * 1.1**self.deaths)))
            self.deaths += 1
        await self._live(asyncio.Event().wait())

    async def _live(self, death: Any) -> None:
        client = Client(self._client.config)
        tasks = [asyncio.create_task(part) for part in parts(client)]
        try:
            await death
        finally:
            await client.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killed_repeatedly_they_converge_and_create_nothing_twice(bare, seed):
    client = bare.client
    mortal = Mortal(client, seed)
    async with running(mortal.run()):
        await client.create(kinds.SERVICE, service())
        await client.create(kinds.DEPLOYMENT, web(3))
        await bare.deployed("web", 3)
        first = {p.metadata.uid for p in await bare.pods() if p.metadata.deletion_timestamp is None}
        await bare.change("web", replicas=6)
        await bare.deployed("web", 6)
        await bare.change("web", template=template("two"))
        await bare.deployed("web", 6)
        await until(mortal.died_enough)  # a fast machine may finish before the kill
        mortal.calm.set()

        async def settled() -> bool:
            pods = await bare.pods()
            slices = (await client.list(kinds.ENDPOINT_SLICE, "default")).items
            mine = [
                s for s in slices if s.metadata.labels.get("kubernetes.io/service-name") == "web"
            ]
            ends = [e.target_ref.uid for s in mine for e in s.endpoints]
            uids = [pod.metadata.uid for pod in pods]
            images = {p.spec.containers[0].image for p in pods}
            return len(uids) == 6 and sorted(ends) == sorted(uids) and images == {"two"}

        await until(settled)
    assert len(first) == 3
    # Each Pod was started once, and there were no more Pods than two versions and their surges.
    assert len(set(bare.agents.started)) == len(bare.agents.started) <= 3 + 3 + 6 + 4


async def test_an_idle_cluster_gets_no_writes(cluster):
    await cluster.client.create(kinds.SERVICE, service())
    await cluster.client.create(kinds.DEPLOYMENT, web(3))
    await cluster.deployed("web", 3)
    await rest(cluster.client)


async def rest(client: Client) -> str:
    """Return the version after which nothing is written for a second; it must come soon."""
    async with asyncio.timeout(120):
        before = ""
        while (now := (await client.list(kinds.EVENT)).resource_version) != before:
            before = now
            await asyncio.sleep(1)
    return now


async def test_a_restart_of_everything_changes_nothing(bare):
    async with running(*parts(bare.client)):
        await bare.client.create(kinds.SERVICE, service())
        await bare.client.create(kinds.DEPLOYMENT, web(3))
        await bare.deployed("web", 3)
        before = await rest(bare.client)

    async def nothing_is_written() -> bool:
        """Restart them. On a slow machine the run before may have had something left to write."""
        nonlocal before
        earlier = before
        async with running(*parts(bare.client)):
            await asyncio.sleep(1)
            before = (await bare.client.list(kinds.EVENT)).resource_version
        return before == earlier

    await until(nothing_is_written)


async def test_a_silent_nodes_pods_leave_the_service(bare):
    settings = ControllerSettings(ranges=SETTINGS.ranges, grace=Grace(monitor=3, startup=1))
    heart = asyncio.create_task(beat(bare.client, "n0", "n1"))  # n2 is silent
    # On a slow machine these two seem silent for a moment, too.
    bare.agents.insistent = frozenset({"n0", "n1"})
    manager = Manager(bare.client, controllers(settings))
    async with running(manager.run(), Scheduler(bare.client).run()):
        await bare.client.create(kinds.DEPLOYMENT, web(3))

        async def marked() -> bool:
            node = await bare.client.get(kinds.NODE, None, "n2")
            return {t.effect for t in node.spec.taints} == {"NoSchedule", "NoExecute"}

        await until(marked)

        async def out_of_service() -> bool:
            pods = await bare.pods()
            return len(pods) == 3 and all(is_ready(p) == (p.spec.node_name != "n2") for p in pods)

        await until(out_of_service)
    heart.cancel()
    await asyncio.wait({heart})


async def beat(client: Client, *names: str) -> None:
    """Renew the Leases of agents, as their heartbeats do."""
    for count in range(10_000):
        for name in names:
            renewed = {"spec": {"renewTime": rfc3339(count).replace("Z", ".000000Z")}}
            if count:
                await client.patch(kinds.LEASE, LEASES, name, renewed)
            else:
                lease = {"metadata": {"name": name, "namespace": LEASES}}
                await client.create(kinds.LEASE, Lease.parse(lease | renewed))
        await asyncio.sleep(0.2)
