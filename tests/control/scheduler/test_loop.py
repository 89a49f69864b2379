"""The scheduler with a real API server: affinity over namespaces, gates, and preemption."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from control.api import kinds
from control.api.cluster import Namespace
from control.api.persistent import SELECTED_NODE, PersistentVolumeClaim, StorageClass
from control.api.pod import Pod
from control.client import Client, Informer
from control.scheduler.loop import Scheduler
from tests.support.control.cluster import (
    Agents,
    add_node,
    client_of,
    meta,
    ready_node,
    running,
    until,
)

HOST = "kubernetes.io/hostname"


@dataclass
class Cluster:
    client: Client

    async def start(self, name: str, namespace: str = "default", **spec: Any) -> Pod:
        container = {"name": "c", "image": "i", "resources": spec.pop("resources", {})}
        body = {
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1} | spec,
        }
        return await self.client.create(kinds.POD, Pod.parse(body))

    async def when(self, name: str, holds: Callable[[Pod], bool], what: str) -> Pod:
        found: list[Pod] = []

        async def seen() -> bool:
            found[:] = [await self.client.get(kinds.POD, "default", name)]
            return holds(found[0])

        await until(seen, f"Pod {name} {what}")
        return found[0]

    async def placed(self, name: str) -> Pod:
        return await self.when(name, lambda pod: bool(pod.spec.node_name), "is placed")

    async def refused(self, name: str) -> str:
        """Wait until the Pod's condition says why it has no node; return the text."""
        pod = await self.when(name, lambda pod: bool(_unscheduled(pod)), "is refused")
        return _unscheduled(pod)

    async def events(self, reason: str) -> list[Any]:
        return [e for e in (await self.client.list(kinds.EVENT)).items if e.reason == reason]


def _unscheduled(pod: Pod) -> str:
    waiting = (c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False")
    return next((c.message or "" for c in waiting), "")


@pytest.fixture
async def cluster(api_server) -> AsyncIterator[Cluster]:
    """An API server, two nodes with four CPUs and their agents, and a scheduler."""
    async with client_of(api_server.url) as client:
        for name in ("n0", "n1"):
            await add_node(client, ready_node(name))
            # No controller is here to judge the node's report.
            await client.patch(kinds.NODE, None, name, {"spec": {"taints": None}})
        async with running(Agents(client).run(), Scheduler(client).run()):
            yield Cluster(client)


def cpu(amount: str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": amount}}}


def beside(app: str, **more: Any) -> dict[str, Any]:
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": app}}} | more
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {"podAffinity": rule}}


async def test_a_pod_waits_until_its_neighbor_has_come(cluster):
    await cluster.client.create(
        kinds.NAMESPACE, Namespace(metadata=meta("other", None, labels={"team": "x"}))
    )
    await cluster.start("late", **beside("db", namespaceSelector={"matchLabels": {"team": "x"}}))
    assert "2 node(s) didn't match pod affinity rules" in await cluster.refused("late")
    await cluster.start("db", namespace="other")
    late = await cluster.placed("late")
    db = await cluster.client.get(kinds.POD, "other", "db")
    assert late.spec.node_name == db.spec.node_name


async def test_a_gated_pod_is_placed_when_its_last_gate_goes(cluster):
    await cluster.start("gated", schedulingGates=[{"name": "example.com/a"}])
    await cluster.start("free")
    await cluster.placed("free")
    assert "non-empty scheduling gates" in await cluster.refused("gated")
    opened = {"spec": {"schedulingGates": None}}
    await cluster.client.patch(kinds.POD, "default", "gated", opened)
    await cluster.placed("gated")


async def test_an_urgent_pod_drives_out_the_least_urgent_one(cluster):
    for name, node in (("a", "n0"), ("b", "n1")):
        await cluster.start(name, nodeSelector={HOST: node}, **cpu("3"))
        await cluster.placed(name)
    victim = await cluster.client.get(kinds.POD, "default", "a")
    gone = Informer(cluster.client, kinds.POD)
    ended: list[Pod] = []
    gone.subscribe(lambda old, new: ended.append(old) if old is not None and new is None else None)
    async with running(gone.run()):
        await gone.synced.wait()
        urgent = {"priorityClassName": "system-node-critical", "nodeSelector": {HOST: "n0"}}
        made = await cluster.start("urgent", **urgent, **cpu("2"))
        await cluster.placed("urgent")
        await until(lambda: bool(ended), "the victim ended")
    assert [pod.metadata.uid for pod in ended] == [victim.metadata.uid]
    (why,) = [c for c in ended[0].status.conditions if c.type == "DisruptionTarget"]
    assert (why.reason, why.message) == (
        "PreemptionByScheduler",
        "default-scheduler: preempting to accommodate a higher priority pod",
    )

    async def told() -> bool:
        return bool(await cluster.events("Preempted"))

    await until(told, "an Event about the victim")
    (event,) = await cluster.events("Preempted")
    assert event.message == f"Preempted by pod {made.metadata.uid} on node n0"
    assert (event.involved_object.name, event.related.name) == ("a", "urgent")


async def test_a_pod_that_nobody_makes_room_for_says_so(cluster):
    await cluster.start("huge", **cpu("9"))
    assert await cluster.refused("huge") == (
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )


async def test_what_a_resize_frees_is_given_to_a_pod_that_waits(cluster):
    await cluster.start("large", **cpu("4"))
    await cluster.placed("large")
    await cluster.start("second", **cpu("4"))
    await cluster.placed("second")
    await cluster.start("late", **cpu("2"))
    await cluster.refused("late")
    spec = {"containers": [{"name": "c", **cpu("1")}]}
    await cluster.client.patch(
        kinds.POD, "default", "large", {"spec": spec}, type="strategic", subresource="resize"
    )
    await cluster.placed("late")


async def test_a_pod_is_bound_after_its_volumes(cluster):
    """A claim that waits for a Pod gets the Pod's node; the Pod waits until it has a volume."""
    head = {"metadata": {"name": "fast"}, "provisioner": "example.com/disks"}
    delayed = StorageClass.parse(head | {"volumeBindingMode": "WaitForFirstConsumer"})
    await cluster.client.create(kinds.STORAGE_CLASS, delayed)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    await cluster.start("late", volumes=volumes)
    assert await cluster.refused("late") == (
        '0/2 nodes are available: persistentvolumeclaim "c" not found. preemption: 0/2 nodes are'
        " available: 2 Preemption is not helpful for scheduling."
    )
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "fast",
    }
    claim = PersistentVolumeClaim.parse({"metadata": meta("c").wire(), "spec": spec})
    await cluster.client.create(kinds.VOLUME_CLAIM, claim)

    async def asked() -> bool:
        found = await cluster.client.get(kinds.VOLUME_CLAIM, "default", "c")
        return SELECTED_NODE in found.metadata.annotations

    await until(asked, "the claim has a node")
    waiting = await cluster.client.get(kinds.POD, "default", "late")
    assert not waiting.spec.node_name
    claim = await cluster.client.get(kinds.VOLUME_CLAIM, "default", "c")
    node = claim.metadata.annotations[SELECTED_NODE]
    bound = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    patch = {"metadata": bound, "spec": {"volumeName": "v"}}
    await cluster.client.patch(kinds.VOLUME_CLAIM, "default", "c", patch)
    assert (await cluster.placed("late")).spec.node_name == node
