"""A StatefulSet under kubectl: rollout, scale, undo, with agents that only report."""

import shutil
from pathlib import Path

import yaml

from control.client import Client
from control.controllers.loop import Manager
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController
from control.controllers.statefulset.controller import StatefulSetController
from control.scheduler.loop import Scheduler
from tests.support.control.cluster import Agents, add_node, deployment, ready_node, running
from tests.support.control.kubectls import Kubectl
from tests.support.control.secured import secured_server


async def test_kubectl_rolls_scales_and_takes_back(tmp_path: Path):
    head = {"kind": "StatefulSet", "apiVersion": "apps/v1"}
    manifest = yaml.safe_dump(head | deployment("web", 2, serviceName="web"))
    async with (
        secured_server(tmp_path) as server,
        Client.from_kubeconfig(server.kubeconfig) as client,
    ):
        kubectl = Kubectl(server, shutil.which("kubectl") or "kubectl")
        await add_node(client, ready_node("n"))
        every = (StatefulSetController(), NodeLifecycleController(Grace(86400, 86400)))
        parts = (Manager(client, every).run(), Scheduler(client).run(), Agents(client).run())
        async with running(*parts):
            await kubectl("create", "-f", "-", stdin=manifest)
            assert "2 new pods have been updated" in await rolled(kubectl)
            assert await images(kubectl) == "web-0=one web-1=one "
            await kubectl("set", "image", "sts/web", "c=two")
            await rolled(kubectl)
            await kubectl("scale", "sts/web", "--replicas=3")
            await kubectl("rollout", "status", "sts/web", "--timeout=120s")
            assert await images(kubectl) == "web-0=two web-1=two web-2=two "
            await kubectl("rollout", "undo", "sts/web")
            await rolled(kubectl)
            assert await images(kubectl) == "web-0=one web-1=one web-2=one "
            assert (await kubectl("get", "sts", "web", "--no-headers")).split()[:2] == [
                "web",
                "3/3",
            ]


async def rolled(kubectl: Kubectl) -> str:
    return await kubectl("rollout", "status", "sts/web", "--timeout=120s")


async def images(kubectl: Kubectl) -> str:
    path = "{range .items[*]}{.metadata.name}={.spec.containers[0].image} {end}"
    return await kubectl("get", "pods", "-o", f"jsonpath={path}")
