"""ReplicationControllers: Pods, scale, and kubectl's view."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from control.api import kinds
from control.api.meta import OwnerReference
from control.api.pod import Pod
from control.api.workload import ReplicationController
from control.client import Client
from control.controllers.loop import Manager
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController
from control.controllers.replicaset import ReplicationControllerController
from control.scheduler.loop import Scheduler
from control.scheduler.siblings import SiblingSelectors
from tests.support.control.build import pod
from tests.support.control.cluster import (
    Agents,
    add_node,
    deployment,
    ready_node,
    running,
    until,
)
from tests.support.control.kubectls import Kubectl
from tests.support.control.secured import secured_server
from tests.support.control.simulate import Simulation

CONTROLLER = ReplicationControllerController()


def wire(replicas: int = 2) -> dict[str, Any]:
    made = deployment("web", replicas)
    template = made["spec"]["template"]
    labels = template["metadata"]["labels"]
    spec = {"replicas": replicas, "selector": labels, "template": template}
    return {"metadata": made["metadata"], "spec": spec}


def owned(item: Pod, uid: str) -> bool:
    wanted = OwnerReference(
        api_version="v1",
        kind="ReplicationController",
        name="web",
        uid=uid,
        controller=True,
        block_owner_deletion=True,
    )
    return item.metadata.owner_references == [wanted]


def test_pods_are_made_adopted_released_and_deleted():
    sim = Simulation()
    orphan = sim.create(pod("orphan", labels={"app": "web"}))
    rc = sim.create(ReplicationController.parse(wire(3)))
    sim.settle(CONTROLLER)
    pods = sim.pods()
    assert len(pods) == 3 and all(owned(item, rc.metadata.uid) for item in pods)
    assert sim.get(orphan) in pods
    for item in pods:
        sim.run_pod(item)
    sim.settle(CONTROLLER)
    status = sim.get(rc).status
    assert (status.replicas, status.ready_replicas, status.available_replicas) == (3, 3, 3)
    assert (status.fully_labeled_replicas, status.observed_generation) == (3, 1)
    renamed = sim.get(orphan)
    labels = renamed.metadata.model_copy(update={"labels": {"app": "other"}})
    sim.put(renamed.model_copy(update={"metadata": labels}))
    sim.settle(CONTROLLER)
    assert sim.get(orphan).metadata.owner_references == []
    assert len([it for it in sim.pods() if owned(it, rc.metadata.uid)]) == 3
    held = sim.get(rc)
    sim.put(held.model_copy(update={"spec": held.spec.model_copy(update={"replicas": 0})}))
    sim.settle(CONTROLLER)
    assert [item.metadata.name for item in sim.pods()] == ["orphan"]


def test_siblings_are_kept_apart():
    siblings = SiblingSelectors()
    sim = Simulation()
    rc = sim.create(ReplicationController.parse(wire()))
    sim.settle(CONTROLLER)
    one, _ = sim.pods()
    assert siblings.of(one) is None
    siblings.owner_changed(None, rc)
    selector = siblings.of(one)
    assert selector is not None and selector.matches({"app": "web"})
    assert not selector.matches({"app": "other"})
    siblings.owner_changed(rc, None)
    assert siblings.of(one) is None


async def test_kubectl_scales_exposes_and_deletes(tmp_path: Path):
    head = {"kind": "ReplicationController", "apiVersion": "v1"}
    async with (
        secured_server(tmp_path) as server,
        Client.from_kubeconfig(server.kubeconfig) as client,
    ):
        kubectl = Kubectl(server, shutil.which("kubectl") or "kubectl")
        await add_node(client, ready_node("n"))
        every = (CONTROLLER, NodeLifecycleController(Grace(86400, 86400)))
        parts = (Manager(client, every).run(), Scheduler(client).run(), Agents(client).run())
        async with running(*parts):
            await kubectl("create", "-f", "-", stdin=yaml.safe_dump(head | wire()))
            await kubectl("scale", "rc/web", "--replicas=3", "--current-replicas=2")

            async def row() -> list[str]:
                text = await kubectl("get", "rc", "web", "--no-headers")
                return text.split()[:4]

            async def is_scaled() -> bool:
                return await row() == ["web", "3", "3", "3"]

            await until(is_scaled)
            assert "ReplicationController/web" in await kubectl("describe", "pods")
            assert "SuccessfulCreate" in await kubectl("describe", "rc", "web")
            await kubectl("expose", "rc", "web", "--port=80")
            selector = await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.selector.app}")
            assert selector == "web"
            await kubectl("delete", "rc", "web", "--cascade=orphan", "--wait=false")
            held = await client.get(kinds.REPLICATION_CONTROLLER, "default", "web")
            assert held.metadata.finalizers == ["orphan"]
