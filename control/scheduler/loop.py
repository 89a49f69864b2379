"""Runs the scheduler: follows the cluster, places Pods, binds them or reports why not.

informers ─► cluster, siblings, queue ─► decide (pure) ─► assume ─► bind ─► Scheduled
                                  ▲        └─ no place ─► preempt (pure) ─► condition, Events
                                  └────── a change that may help wakes parked Pods ┘
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from control.api import kinds
from control.api.cluster import Namespace
from control.api.node import Node
from control.api.pod import Pod
from control.client import ApiError, Client, ClientError, Informer
from control.client.events import EventRecorder
from control.metrics import Registry
from control.scheduler.binding import VolumeBinding
from control.scheduler.cluster import Cluster
from control.scheduler.counts import Counts
from control.scheduler.decide import NoPlacement, place
from control.scheduler.fit import Surroundings
from control.scheduler.model import PodInfo, pod_requests
from control.scheduler.preempt import NoPreemption, Preemption, preempt
from control.scheduler.queue import SchedulingQueue
from control.scheduler.siblings import Owner, SiblingSelectors
from control.scheduler.storage import (
    NotSchedulableError,
    PodVolumes,
    VolumeChoice,
    has_claims,
    not_schedulable,
)
from control.scheduler.writes import Writes

logger = logging.getLogger(__name__)

_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"
# Whose Pods are spread over nodes.
_OWNERS: tuple[kinds.Kind[Owner], ...] = (
    kinds.REPLICA_SET,
    kinds.REPLICATION_CONTROLLER,
    kinds.STATEFUL_SET,
)


class Scheduler:
    """Binds the Pods whose schedulerName is ``name`` to nodes."""

    def __init__(
        self,
        client: Client,
        name: str = "default-scheduler",
        queue: SchedulingQueue | None = None,
        clock: Callable[[], float] = time.time,
        registry: Registry | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._queue = queue or SchedulingQueue()
        self._clock = clock
        self._counts = Counts(registry or Registry(), name, self._queue)
        self._cluster = Cluster()
        self._siblings = SiblingSelectors()
        self._wake = asyncio.Event()
        self._tried = 0
        self._recorder = EventRecorder(client, name)
        self._writes = Writes(client, self._recorder, clock)
        self._pods = Informer(client, kinds.POD, field_selector=_NOT_ENDED)
        self._nodes = Informer(client, kinds.NODE)
        self._namespaces = Informer(client, kinds.NAMESPACE)
        self._services = Informer(client, kinds.SERVICE)
        self._owners = [Informer(client, kind) for kind in _OWNERS]
        self._budgets = Informer(client, kinds.DISRUPTION_BUDGET)
        self._volumes = VolumeBinding(client, self._storage_changed)

    async def run(self) -> None:
        """Schedule for ever."""
        self._nodes.subscribe(self._node_changed)
        self._namespaces.subscribe(self._namespace_changed)
        self._services.subscribe(self._siblings.service_changed)
        for owners in self._owners:
            owners.subscribe(self._siblings.owner_changed)
        self._volumes.subscribe()
        self._pods.subscribe(self._pod_changed)
        informers: tuple[Informer[Any], ...] = (
            self._nodes,
            self._namespaces,
            self._services,
            *self._owners,
            self._budgets,
            *self._volumes.informers,
            self._pods,
        )
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

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        self._cluster.namespace_changed(old, new)
        if old is not None and new is not None and old.metadata.labels != new.metadata.labels:
            self._queue.changed(choosy=True)
            self._wake.set()

    def _storage_changed(self) -> None:
        self._queue.changed(which=has_claims)
        self._wake.set()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        uid = (new or old).metadata.uid  # type: ignore[union-attr]  # one of them is there
        placed = self._cluster.is_placed(new or old)  # type: ignore[arg-type]
        self._cluster.pod_changed(old, new)
        if new is None:
            self._queue.drop(uid)
            self._volumes.wake()  # its volumes may be waited for
            if placed:
                self._queue.changed()  # its resources are free again
        elif new.spec.node_name or new.metadata.deletion_timestamp or not self._is_ours(new):
            self._queue.drop(uid)
            if new.spec.node_name and (old is None or _company(old) != _company(new)):
                self._queue.changed(choosy=True)
            if placed and old is not None and _shrinks(old, new):
                self._queue.changed()  # a resize freed something
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
        began = time.monotonic()
        nodes = self._cluster.nodes
        try:
            around = self._around(pod)
        except NotSchedulableError as err:
            self._counts.tried(placed=False, seconds=time.monotonic() - began)
            self._queue.failed(pod.metadata.uid, self._clock(), park=True)
            message = not_schedulable(str(err), len(nodes))
            tasks.create_task(self._explain(pod, message, None))
            return
        found = place(info, nodes, around, random.choice, self._tried)
        placed = not isinstance(found, NoPlacement)
        self._counts.tried(placed=placed, seconds=time.monotonic() - began)
        if isinstance(found, NoPlacement):
            self._without_node(info, found, tasks)
            return
        choice = self._choose(pod, around.volumes, found.node)
        self._cluster.assume(info, found.node)
        tasks.create_task(self._bind(pod, found.node, choice))

    def _choose(self, pod: Pod, volumes: PodVolumes | None, node: str) -> VolumeChoice | None:
        """Choose the volumes of a Pod on its node; None if it has no claims that wait for one."""
        choice = volumes.choice(self._cluster.nodes[node]) if volumes else None
        if choice is not None:
            self._volumes.storage.choose(pod, choice)
        return choice

    def _without_node(self, info: PodInfo, found: NoPlacement, tasks: asyncio.TaskGroup) -> None:
        """Make room for a Pod that no node can take now, or park it."""
        pod, nodes = info.pod, self._cluster.nodes
        budgets = self._budgets.snapshot().values()
        freed = preempt(found, nodes, self._tried, budgets) if nodes else NoPreemption("")
        if isinstance(freed, Preemption):
            lower = self._cluster.nominate(info, freed.node)
            tasks.create_task(self._free(pod, found.message, freed, lower))
            return
        self._queue.failed(pod.metadata.uid, self._clock(), park=True)
        if freed.hopeless:
            self._cluster.take_back(pod.metadata.uid)
        because = f" preemption: {freed.message}" if freed.message else ""
        nominated = "" if freed.hopeless else None
        tasks.create_task(self._explain(pod, found.message + because, nominated))

    def _around(self, pod: Pod) -> Surroundings:
        """Return what a Pod is placed into; raises NotSchedulableError."""
        cluster, volumes = self._cluster, self._volumes.storage.of(pod)
        return Surroundings(cluster.namespaces, self._siblings.of(pod), cluster.nominated, volumes)

    async def _explain(self, pod: Pod, message: str, nominated: str | None) -> None:
        written = await self._writes.explain(pod, message, nominated)
        if written is not None:
            self._pods.learn(written)

    async def _free(self, pod: Pod, message: str, freed: Preemption, lower: list[Pod]) -> None:
        """End the victims of a Pod, which is then tried again: when they go, or later."""
        await self._explain(pod, message, freed.node)
        for other in lower:
            await self._writes.take_back(other)
        ended = await self._writes.preempt(freed, pod)
        self._queue.failed(pod.metadata.uid, self._clock(), park=ended)
        self._wake.set()

    async def _bind(self, pod: Pod, node: str, choice: VolumeChoice | None) -> None:
        tries = self._queue.tries(pod.metadata.uid)  # the informer may take it out meanwhile
        try:
            if choice is not None:
                await self._volumes.bind(pod, node, choice, lambda: self._exists(pod))
            await self._writes.bind(pod, node)
        except ClientError as err:
            self._cluster.forget(pod)
            await self._not_bound(pod, err)
            return
        if tries is not None:
            self._counts.bound(tries, self._clock())
        self._queue.drop(pod.metadata.uid)

    def _exists(self, pod: Pod) -> bool:
        known = self._pods.get(*pod.key)
        return known is not None and known.metadata.uid == pod.metadata.uid

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
        self._writes.refused(pod, err)
        self._queue.failed(meta.uid, self._clock(), park=False)
        self._wake.set()


def _offer(node: Node) -> tuple[object, ...]:
    """The fields of a node that decide if Pods fit."""
    spec = node.spec
    labels = node.metadata.labels
    return labels, spec.taints, spec.unschedulable, node.status.allocatable, node.status.capacity


def _wish(pod: Pod) -> tuple[object, ...]:
    """The fields of a Pod that decide where it fits."""
    return pod.metadata.labels, pod.spec


def _shrinks(old: Pod, new: Pod) -> bool:
    """Return True if a Pod requests less than before."""
    after = pod_requests(new, {})
    return any(after.get(name, 0) < amount for name, amount in pod_requests(old, {}).items())


def _company(pod: Pod) -> tuple[object, ...]:
    """The fields of a placed Pod that decide if others are near it."""
    return pod.metadata.labels, pod.spec.node_name
