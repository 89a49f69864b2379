"""Runs the node lifecycle controller: Nodes that are not ready, whose machines are gone or off.

Source: k8s.io/cloud-provider/controllers/nodelifecycle/node_lifecycle_controller.go. Upstream looks
every --node-monitor-period; this one looks also when a Node ceases to be ready.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from control.api import kinds
from control.api.node import Node
from control.client import ApiError, Client, ClientError, Informer
from control.client.events import EventRecorder
from control.cloud.nodes import decide
from control.cloud.provider import CloudError, Instances

COMPONENT = "cloud-node-lifecycle-controller"
_CONFLICT = 409
logger = logging.getLogger(__name__)


class NodeLifecycleController:
    """Deletes Nodes whose machines are gone, and taints those whose machines are off."""

    def __init__(
        self,
        nodes: Informer[Node, Node],
        instances: Instances,
        writer: Client,
        *,
        period: float = 5.0,
    ) -> None:
        """``nodes`` runs elsewhere; ``writer`` has the controller's rights."""
        self._nodes, self._instances, self._writer = nodes, instances, writer
        self._period = period
        self._wake = asyncio.Event()
        self._recorder = EventRecorder(writer, COMPONENT)
        self._said: dict[str, str] = {}  # the last failure of each Node: it is logged once

    async def run(self) -> None:
        """Follow Nodes for ever."""
        await self._nodes.synced.wait()
        stop = self._nodes.subscribe(self._changed)
        try:
            async with self._recorder:
                while True:
                    self._wake.clear()
                    for node in list(self._nodes.snapshot().values()):
                        await self._try(node)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), self._period)
        finally:
            stop()

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or decide.ready(old) != decide.ready(new)):
            self._wake.set()

    async def _try(self, node: Node) -> None:
        name = node.metadata.name
        try:
            await self._look(node)
            self._said.pop(name, None)
        except (CloudError, ClientError) as err:
            if self._said.get(name) != str(err):
                logger.warning("%s: node %s: %s; trying again", COMPONENT, name, err)
            self._said[name] = str(err)

    async def _look(self, node: Node) -> None:
        if decide.ready(node):
            await self._patch(node, decide.without_shutdown(node))
        elif not await self._instances.exists(node):
            await self._delete(node)
        elif await self._instances.shut_down(node):
            await self._patch(node, decide.with_shutdown(node))

    async def _delete(self, node: Node) -> None:
        name = node.metadata.name
        text = f"Deleting node {name} because it does not exist in the cloud provider"
        self._recorder.record(node, "Normal", "DeletingNode", text)
        try:
            await self._writer.delete(kinds.NODE, None, name, uid=node.metadata.uid)
        except ClientError as err:
            if isinstance(err, ApiError) and err.not_found:
                return
            text = f"Failed deleting node {name}: {err}"
            self._recorder.record(node, "Warning", "DeletingNodeFailed", text)
            raise
        logger.info("%s: deleted node %s: the cloud has no such machine", COMPONENT, name)
        self._nodes.bury(node)

    async def _patch(self, node: Node, change: dict[str, Any] | None) -> None:
        if change is None:
            return
        try:
            self._nodes.learn(
                await self._writer.patch(kinds.NODE, None, node.metadata.name, change)
            )
        except ApiError as err:
            if err.code == _CONFLICT:  # the Node's change wakes this controller, or its period does
                self._wake.set()
            elif not err.not_found:
                raise
