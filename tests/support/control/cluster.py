"""A cluster without machines: a real API server, and agents that only report running Pods."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from control.api import kinds
from control.api.meta import ObjectMeta
from control.api.node import Node
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client import Client, ClientConfig, ClientError, Informer
from control.controllers.pods import is_ready

ROOM = {"cpu": "4", "memory": "8Gi", "pods": "110"}


def client_of(url: str) -> Client:
    return Client(ClientConfig(url))


def ready_node(name: str, **labels: str) -> Node:
    return Node.parse(
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | labels},
            "status": {
                "allocatable": ROOM,
                "capacity": ROOM,
                "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": rfc3339(0)}
                ],
            },
        }
    )


async def add_node(client: Client, node: Node) -> Node:
    """Create a node and set its status to ready."""
    made = await client.create(kinds.NODE, node)
    return await client.update_status(kinds.NODE, made.model_copy(update={"status": node.status}))


@asynccontextmanager
async def running(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run parts of a control plane in the background; the failure of one fails the test."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(part) for part in parts]
        yield
        for task in started:
            task.cancel()


_READY = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(0)}


class Agents:
    """The agents of all nodes: bound Pods get an address and run; deleted Pods end.

    Those of the nodes in ``insistent`` say again that a Pod is ready when somebody else says it is
    not, as agents do after a silence. Pods for which ``ends`` is true succeed at once.
    """

    def __init__(
        self,
        client: Client,
        *,
        ready: Callable[[Pod], bool] = lambda pod: True,
        ends: Callable[[Pod], bool] = lambda pod: False,
    ) -> None:
        self.started: list[str] = []  # uids, in order: a Pod that runs twice is here twice
        self.insistent: frozenset[str] = frozenset()
        self._client = client
        self._ready = ready
        self._ends = ends
        self._pods = Informer(client, kinds.POD)
        self._known: set[str] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:

            def changed(_: Pod | None, new: Pod | None) -> None:
                if new is not None and new.spec.node_name:
                    tasks.create_task(self._act(new))

            self._pods.subscribe(changed)
            tasks.create_task(self._pods.run())

    async def _act(self, pod: Pod) -> None:
        namespace, name = pod.key
        uid = pod.metadata.uid
        with suppress(ClientError):
            if pod.metadata.deletion_timestamp:
                await self._client.delete(
                    kinds.POD, namespace, name, uid=uid, grace_period_seconds=0
                )
            elif uid not in self._known and self._ready(pod):
                self._known.add(uid)
                self.started.append(uid)
                await self._run(pod)
            elif uid in self._known and pod.spec.node_name in self.insistent and not is_ready(pod):
                await self._report(pod, {"conditions": [_READY]})

    async def _run(self, pod: Pod) -> None:
        number = len(self.started)
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        ends = self._ends(pod)
        status = {
            "phase": "Succeeded" if ends else "Running",
            "podIP": address,
            "podIPs": [{"ip": address}, {"ip": f"fd00:10:244::{number:x}"}],
            "conditions": [_READY | ({"status": "False"} if ends else {})],
        }
        await self._report(pod, status)

    async def _report(self, pod: Pod, status: dict[str, Any]) -> None:
        patch = {"status": status}
        await self._client.patch(kinds.POD, *pod.key, patch, type="strategic", subresource="status")


async def until(
    holds: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str = "", seconds: float = 60
) -> None:
    """Wait until a condition holds; ``what`` describes it in the error."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                result = holds()
                if result if isinstance(result, bool) else await result:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or holds}") from None


def deployment(name: str, replicas: int, *, image: str = "one", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        }
        | spec,
    }


def meta(name: str, namespace: str | None = "default", **more: Any) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=namespace, **more)
