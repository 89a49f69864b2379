"""What the scheduler writes: bindings, conditions, nominations, and the end of preempted Pods."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from control.api import kinds
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client import ApiError, Client, ClientError, UnreachableError
from control.client.backoff import Backoff
from control.client.events import EventRecorder
from control.scheduler.preempt import BY_SCHEDULER, DISRUPTED, Preemption

logger = logging.getLogger(__name__)

_BINDINGS = 32  # at the same time


class Writes:
    """The scheduler's requests and Events."""

    def __init__(self, client: Client, recorder: EventRecorder, clock: Callable[[], float]) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._slots = asyncio.Semaphore(_BINDINGS)

    async def bind(self, pod: Pod, node: str) -> None:
        """Bind a Pod to a node; raises ClientError when the server refuses it."""
        async with self._slots:
            await self._bind(pod, node)
        namespace, name = pod.key
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._recorder.record(pod, "Normal", "Scheduled", text, action="Binding")

    async def _bind(self, pod: Pod, node: str) -> None:
        """Send the binding until there is an answer; repeated requests bind a Pod only once."""
        meta, pause = pod.metadata, Backoff()
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        while True:
            try:
                await self._client.post(kinds.POD, meta.namespace, meta.name, "binding", body)
                return
            except UnreachableError as err:
                logger.warning("%s; trying again", err)
                await asyncio.sleep(pause.next())

    def refused(self, pod: Pod, err: ClientError) -> None:
        """Report that a Pod was not bound."""
        text = f"binding rejected: {err}"
        self._recorder.record(pod, "Warning", "FailedScheduling", text, action="Scheduling")

    async def explain(self, pod: Pod, message: str, nominated: str | None = None) -> Pod | None:
        """Show in the Pod's status why it has no node; return the Pod if that was written.

        ``nominated`` is the node that it will get; an empty one takes the nomination back, and None
        leaves it as it is.
        """
        self._recorder.record(pod, "Warning", "FailedScheduling", message, action="Scheduling")
        status: dict[str, Any] = {}
        if nominated is not None and nominated != (pod.status.nominated_node_name or ""):
            status["nominatedNodeName"] = nominated or None
        if condition := self._unscheduled(pod, message):
            status["conditions"] = [condition]
        return await self._patch(pod, status) if status else None

    def _unscheduled(self, pod: Pod, message: str) -> dict[str, Any] | None:
        """The new condition PodScheduled; None if the Pod has it."""
        known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        if known is not None and (known.status, known.message) == ("False", message):
            return None
        found = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        if known is None or known.status != "False":
            found["lastTransitionTime"] = rfc3339(self._clock())
        return found

    async def preempt(self, preemption: Preemption, preemptor: Pod) -> bool:
        """End the victims; return False if one of them could not be ended."""
        running = [it for it in preemption.victims if not it.metadata.deletion_timestamp]
        ends = (self._end(victim, preemptor, preemption.node) for victim in running)
        return all(await asyncio.gather(*ends))

    async def _end(self, victim: Pod, preemptor: Pod, node: str) -> bool:
        scheduler = preemptor.spec.scheduler_name or "default-scheduler"
        condition = {
            "type": DISRUPTED,
            "status": "True",
            "reason": BY_SCHEDULER,
            "message": f"{scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock()),
        }
        meta = victim.metadata
        try:
            await self._patch_status(victim, {"conditions": [condition]})
            await self._client.delete(kinds.POD, meta.namespace, meta.name, uid=meta.uid)
        except ApiError as err:
            if not err.not_found:
                logger.warning("%s", err)
            return err.not_found
        except ClientError as err:
            logger.warning("%s", err)
            return False
        text = f"Preempted by pod {preemptor.metadata.uid} on node {node}"
        self._recorder.record(
            victim, "Normal", "Preempted", text, action="Preempting", related=preemptor
        )
        return True

    async def take_back(self, pod: Pod) -> None:
        """Remove a Pod's nomination: a more urgent Pod gets the node."""
        await self._patch(pod, {"nominatedNodeName": None})

    async def _patch(self, pod: Pod, status: dict[str, Any]) -> Pod | None:
        try:
            return await self._patch_status(pod, status)
        except ClientError as err:
            logger.info("%s", err)
            return None

    async def _patch_status(self, pod: Pod, status: dict[str, Any]) -> Pod:
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        namespace, name = pod.key
        return await self._client.patch(
            kinds.POD, namespace, name, patch, type="strategic", subresource="status"
        )
