"""Runs the node controller: Nodes that register get what the cloud knows of their machines.

    informer ──change──► queue ──► tainted? ──► cloud ──► labels, providerID, no taint; addresses
    every 5 minutes ─────────────► all the others ──────► addresses

Source: k8s.io/cloud-provider/controllers/node/node_controller.go.
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from control.api import kinds
from control.api.node import Node, NodeAddress
from control.api.times import seconds_of
from control.client import ApiError, Client, ClientError, Informer
from control.client.events import EventRecorder
from control.cloud.nodes import decide
from control.cloud.provider import CloudError, Instances
from control.controllers.queue import WorkQueue
from control.metrics import Registry, exponential

COMPONENT = "cloud-node-controller"
_FIRST_RETRY, _LONGEST_RETRY = 0.005, 1000.0  # seconds, client-go's default
_UPDATES = 300.0
_CONFLICT = 409  # the agent has written meanwhile
_BUCKETS = exponential(1, 4, 6)
logger = logging.getLogger(__name__)


class NodeController:
    """Initializes Nodes, and keeps their addresses as the cloud says."""

    def __init__(
        self,
        nodes: Informer[Node, Node],
        instances: Instances,
        writer: Client,
        registry: Registry | None = None,
        *,
        workers: int = 1,
        period: float = _UPDATES,
    ) -> None:
        """``nodes`` runs elsewhere; ``writer`` has the controller's rights."""
        self._nodes, self._instances, self._writer = nodes, instances, writer
        self._workers, self._period = workers, period
        self._queue: WorkQueue[str] = WorkQueue(_FIRST_RETRY, _LONGEST_RETRY)
        self._recorder = EventRecorder(writer, COMPONENT)
        registry = registry or Registry()
        self._untainted = registry.histogram(
            "node_controller_cloud_provider_taint_removal_delay_seconds",
            "Number of seconds after node creation when NodeController removed the cloud-provider "
            "taint of a single node.",
            buckets=_BUCKETS,
        )
        self._synced = registry.histogram(
            "node_controller_initial_node_sync_delay_seconds",
            "Number of seconds after node creation when NodeController finished the initial "
            "synchronization of a single node.",
            buckets=_BUCKETS,
        )

    async def run(self) -> None:
        """Follow Nodes for ever."""
        await self._nodes.synced.wait()
        stop = self._nodes.subscribe(self._changed)
        try:
            async with self._recorder, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._update())
                for _ in range(self._workers):
                    tasks.create_task(self._work())
        finally:
            stop()
            self._queue.close()

    def _changed(self, _: Node | None, new: Node | None) -> None:
        if new is not None and (decide.waits(new) or decide.relabeled(new)):
            self._queue.add(new.metadata.name)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self._sync(name)
                self._queue.forget(name)
            except (CloudError, ClientError) as err:
                raced = isinstance(err, ApiError) and err.code == _CONFLICT
                level = logging.DEBUG if raced else logging.WARNING
                logger.log(level, "%s: node %s: %s; trying again", COMPONENT, name, err)
                self._queue.retry(name)
            except Exception:  # a defect shown by one Node must not stop the others
                logger.exception("%s: node %s failed", COMPONENT, name)
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _sync(self, name: str) -> None:
        node = self._nodes.get(None, name)
        if node is None:
            return
        if decide.waits(node):
            await self._initialize(node)
        elif labels := decide.relabeled(node):
            await self._patch(node, {"metadata": {"labels": labels, "uid": node.metadata.uid}})

    async def _initialize(self, node: Node) -> None:
        instance = await self._instances.metadata(node)
        changed = await self._patch(node, decide.initialized(node, instance))
        if changed is None:
            return
        born = seconds_of(node.metadata.creation_timestamp) or time.time()
        self._untainted.observe(value=max(0.0, time.time() - born))
        logger.info("%s: initialized node %s", COMPONENT, node.metadata.name)
        await self._address(changed, instance.addresses)
        self._recorder.record(node, "Normal", "Synced", "Node synced successfully")
        self._synced.observe(value=max(0.0, time.time() - born))

    async def _update(self) -> None:
        """Give initialized Nodes the addresses that the cloud has for them, every few minutes."""
        while True:
            for node in list(self._nodes.snapshot().values()):
                if decide.waits(node):
                    continue
                try:
                    instance = await self._instances.metadata(node)
                    await self._address(node, instance.addresses)
                except (CloudError, ClientError) as err:
                    logger.warning("%s: addresses of %s: %s", COMPONENT, node.metadata.name, err)
            await asyncio.sleep(self._period)

    async def _address(self, node: Node, given: Iterable[NodeAddress]) -> None:
        wanted = decide.addressed(node, given)
        if wanted is None:
            return
        rows = [{"$patch": "replace"}, *(each.wire() for each in wanted)]
        change = {"metadata": {"uid": node.metadata.uid}, "status": {"addresses": rows}}
        await self._patch(node, change, type="strategic", subresource="status")

    async def _patch(self, node: Node, change: object, **how: str) -> Node | None:
        """Change a Node; None if it is gone. Raises ClientError."""
        try:
            written = await self._writer.patch(kinds.NODE, None, node.metadata.name, change, **how)
        except ApiError as err:
            if err.not_found:
                return None
            raise
        self._nodes.learn(written)
        return written
