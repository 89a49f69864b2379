"""Controllers and scheduler against a real API server: what a user asks for comes to be."""

from control.api import kinds
from control.api.workload import Deployment
from control.controllers.loop import Manager
from control.controllers.table import Settings, controllers
from control.scheduler.loop import Scheduler
from tests.control.cluster import (
    Agents,
    add_node,
    client_of,
    deployment,
    ready_node,
    running,
    until,
)


async def test_a_deployment_runs(api_server):
    async with client_of(api_server.url) as client:
        agents = Agents(client)
        for i in range(3):
            await add_node(client, ready_node(f"n{i}"))
        parts = Manager(client, controllers(Settings()))
        async with running(parts.run(), Scheduler(client).run(), agents.run()):
            await client.create(kinds.DEPLOYMENT, Deployment.parse(deployment("web", 3)))

            async def available() -> bool:
                web = await client.get(kinds.DEPLOYMENT, "default", "web")
                return web.status.available_replicas == 3

            await until(available)
        pods = (await client.list(kinds.POD)).items
        assert {p.spec.node_name for p in pods} == {"n0", "n1", "n2"}
