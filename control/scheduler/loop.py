"""Runs the scheduler: follows the cluster, places Pods, binds them or reports why not.

informers ─► cluster, siblings, queue ─► decide (pure) ─► assume ─► bind ─► Scheduled
                                  ▲        └─ no place ─► condition, FailedScheduling
                                  └────── a change that may help wakes parked Pods ┘
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

from control.api import kinds
from control.api.node import Node
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client import ApiError, Client, ClientError, EventRecorder, Informer, UnreachableError
from control.client.backoff import Backoff
from control.scheduler.cluster import Cluster
from control.scheduler.decide import NoPlacement, place
from control.scheduler.model import PodInfo
from control.scheduler.queue import SchedulingQueue
from control.scheduler.siblings import SiblingSelectors

logger = logging.getLogger(__name__)

_BINDINGS = 32  # at the same time
_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


class Scheduler:
    """Binds the Pods whose schedulerName is ``name`` to nodes."""

    def __init__(
        self,
        client: Client,
        name: str = "default-scheduler",
        queue: SchedulingQueue | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._name = name
        self._queue = queue or SchedulingQueue()
        self._clock = clock
        self._cluster = Cluster()
        self._siblings = SiblingSelectors()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_BINDINGS)
        self._tried = 0
        self._recorder = EventRecorder(client, name)
        self._pods = Informer(client, kinds.POD, field_selector=_NOT_ENDED)
        self._nodes = Informer(client, kinds.NODE)
        self._services = Informer(client, kinds.SERVICE)
        self._sets = Informer(client, kinds.REPLICA_SET)

    async def run(self) -> None:
        """Schedule for ever."""
        self._nodes.subscribe(self._node_changed)
        self._services.subscribe(self._siblings.service_changed)
        self._sets.subscribe(self._siblings.set_changed)
        self._pods.subscribe(self._pod_changed)
        informers = (self._nodes, self._services, self._sets, self._pods)
        async with self._recorder, asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            logger.info("caches are filled")
            await self._schedule(tasks)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        self._cluster.node_changed(old, new)
        if new is not None and (old is None or _offer(old) != _offer(new)):
            self._queue.changed()
            self._wake.set()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        uid = (new or old).metadata.uid  # type: ignore[union-attr]  # one of them is there
        placed = self._cluster.is_placed(new or old)  # type: ignore[arg-type]
        self._cluster.pod_changed(old, new)
        if new is None:
            self._queue.drop(uid)
            if placed:
                self._queue.changed()  # its resources are free again
        elif new.spec.node_name or new.metadata.deletion_timestamp or not self._is_ours(new):
            self._queue.drop(uid)
        elif not placed:
            self._queue.put(new, helped=old is not None and _wish(old) != _wish(new))
        self._wake.set()

    def _is_ours(self, pod: Pod) -> bool:
        mine = (pod.spec.scheduler_name or "default-scheduler") == self._name
        return mine and not pod.spec.scheduling_gates

    async def _schedule(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            pod = self._queue.pop(self._clock())
            if pod is None:
                await self._rest()
                continue
            self._try(pod, tasks)
            await asyncio.sleep(0)  # let changes and bindings run

    async def _rest(self) -> None:
        """Wait until something changes or a back-off ends."""
        due = self._queue.next_time(self._clock())
        wait = None if due is None else max(0.0, due - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()
        self._wake.clear()

    def _try(self, pod: Pod, tasks: asyncio.TaskGroup) -> None:
        info = PodInfo(pod)
        self._tried += 1
        siblings = self._siblings.of(pod)
        found = place(info, self._cluster.nodes, siblings, random.choice, self._tried)
        if isinstance(found, NoPlacement):
            self._queue.failed(pod.metadata.uid, self._clock(), park=True)
            tasks.create_task(self._explain(pod, found.message))
        else:
            self._cluster.assume(info, found.node)
            tasks.create_task(self._bind(pod, found.node))

    async def _bind(self, pod: Pod, node: str) -> None:
        try:
            async with self._slots:
                await self._bind_once(pod, node)
        except ClientError as err:
            self._cluster.forget(pod)
            await self._not_bound(pod, err)
            return
        self._queue.drop(pod.metadata.uid)
        namespace, name = pod.key
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._recorder.record(pod, "Normal", "Scheduled", text, action="Binding")

    async def _bind_once(self, pod: Pod, node: str) -> None:
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

    async def _not_bound(self, pod: Pod, err: ClientError) -> None:
        """After a refused binding, read the Pod again: drop it, or try it again later."""
        meta = pod.metadata
        try:
            now = await self._client.get(kinds.POD, meta.namespace, meta.name)
        except ApiError as gone:
            if gone.not_found:
                self._queue.drop(meta.uid)
                return
            logger.warning("%s", gone)
        except ClientError as failure:
            logger.warning("%s", failure)
        else:
            self._pods.learn(now)
            if now.spec.node_name or now.metadata.uid != meta.uid:
                self._queue.drop(meta.uid)
                return
        text = f"binding rejected: {err}"
        self._recorder.record(pod, "Warning", "FailedScheduling", text, action="Scheduling")
        self._queue.failed(meta.uid, self._clock(), park=False)
        self._wake.set()

    async def _explain(self, pod: Pod, message: str) -> None:
        """Show in the Pod's status why it has no node."""
        self._recorder.record(pod, "Warning", "FailedScheduling", message, action="Scheduling")
        known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        if known is not None and (known.status, known.message) == ("False", message):
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        if known is None or known.status != "False":
            condition["lastTransitionTime"] = rfc3339(self._clock())
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        namespace, name = pod.key
        try:
            self._pods.learn(
                await self._client.patch(
                    kinds.POD, namespace, name, patch, type="strategic", subresource="status"
                )
            )
        except ClientError as err:
            logger.info("%s", err)


def _offer(node: Node) -> tuple[object, ...]:
    """The fields of a node that decide if Pods fit."""
    spec = node.spec
    labels = node.metadata.labels
    return labels, spec.taints, spec.unschedulable, node.status.allocatable, node.status.capacity


def _wish(pod: Pod) -> tuple[object, ...]:
    """The fields of a Pod that decide where it fits."""
    return pod.metadata.labels, pod.spec
