"""A whole control plane in the test's process, whose Pods are only said to run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control.api.pod import Pod
from control.client import Client
from control.controllers.loop import Manager
from control.controllers.nodes.lifecycle import Grace
from control.controllers.table import ControllerSettings, controllers
from control.scheduler.loop import Scheduler
from control.tokens import TokenSigner
from tests.support.control.cluster import Agents, add_node, ready_node, running
from tests.support.control.secured import Secured, secured_server
from tests.support.control.signing import key

_NEVER = Grace(86400, 86400)


@asynccontextmanager
async def live_cluster(folder: Path) -> AsyncIterator[Secured]:
    """Serve with RBAC; all controllers and the scheduler run. The Pods of Jobs succeed at once."""
    async with (
        secured_server(folder, modes=("Node", "RBAC"), tokens=TokenSigner(key())) as server,
        Client.from_kubeconfig(server.kubeconfig) as client,
    ):
        await add_node(client, ready_node("n"))
        root = (folder / "ca.crt").read_text()
        every = controllers(ControllerSettings(grace=_NEVER, root_ca=root))
        agents = Agents(client, ends=_of_job)
        async with running(Manager(client, every).run(), Scheduler(client).run(), agents.run()):
            yield server


def _of_job(pod: Pod) -> bool:
    return any(owner.kind == "Job" for owner in pod.metadata.owner_references)
