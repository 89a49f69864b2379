"""Runs the service controller: Services and nodes become calls of the cloud, and statuses.

    informers ──change──► decide.counts ──key──► queue ──► _sync ──► cloud, then finalizer, status
                                                   ▲          │
                                                   └─(fails)──┘  5 s, doubled to 300 s

Source: k8s.io/cloud-provider/controllers/service/controller.go. Unlike upstream's, this one tries a
refused Service again as soon as the cloud says that something was freed.
"""

import asyncio
import logging
import time
from typing import Any

from control.api import kinds
from control.api.node import Node
from control.api.service import LoadBalancerStatus, ObjectReference, Service
from control.client import ApiError, Client, ClientError, Informer
from control.client.cache import Key
from control.client.events import EventRecorder
from control.cloud.provider import BalancerLostError, CloudError, LoadBalancers
from control.cloud.services import decide
from control.cloud.services.metrics import ServiceMetrics
from control.controllers.queue import WorkQueue
from control.controllers.queue_metrics import QueueMetrics
from control.metrics import Registry

COMPONENT = "service-controller"
_FIRST_RETRY, _LONGEST_RETRY = 5.0, 300.0  # seconds
_LEASE = "kube-system", "cloud-controller-manager"
logger = logging.getLogger(__name__)


class SyncError(Exception):
    """A Service's load balancer is not as it should be; the text says why."""


class ServiceController:
    """Keeps the load balancers of a cluster's Services."""

    def __init__(
        self,
        client: Client,
        balancers: LoadBalancers,
        cluster: str = "kubernetes",
        *,
        workers: int = 1,
        writer: Client | None = None,
        registry: Registry | None = None,
        lease: tuple[str, str] = _LEASE,
    ) -> None:
        """``writer`` has the rights of the controller itself; default: ``client``.

        Events of the cloud as a whole are about its Lease; ``lease`` is namespace and name.
        """
        registry = registry or Registry()
        self._metrics = ServiceMetrics(registry)
        self._writer = writer or client
        self._lease = ObjectReference(
            api_version="coordination.k8s.io/v1", kind="Lease", namespace=lease[0], name=lease[1]
        )
        self._balancers, self._cluster, self._workers = balancers, cluster, workers
        self._services = Informer(client, kinds.SERVICE)
        self._nodes = Informer(client, kinds.NODE)
        self._queue: WorkQueue[Key] = WorkQueue(_FIRST_RETRY, _LONGEST_RETRY)
        self._refused: set[Key] = set()  # failed, and wait for their next turn
        self._balanced: dict[Key, Service] = {}  # as last synchronized
        self._targets: frozenset[str] = frozenset()  # names of the nodes that got traffic last
        self._due: set[Key] = set()  # for a whole round: of the others, only the nodes changed
        self._recorder = EventRecorder(self._writer, COMPONENT)
        self._queued = QueueMetrics(registry, {"service": self._queue})
        self._queued.follow("service", self._queue)

    async def run(self) -> None:
        """Follow Services and nodes for ever."""
        async with self._recorder, asyncio.TaskGroup() as tasks:
            for informer in (self._services, self._nodes):
                tasks.create_task(informer.run())
            await self._services.synced.wait()
            await self._nodes.synced.wait()
            self._services.subscribe(self._balancers.observe)
            self._balancers.on_freed(self._try_refused)
            self._balancers.on_lost(self._lost)
            self._balancers.on_fault(self._fault)
            tasks.create_task(self._balancers.run())
            self._targets = self._names()
            self._services.subscribe(self._changed)
            self._nodes.subscribe(self._node_changed)
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._workers):
                        workers.create_task(self._work())
            finally:
                self._queue.close()

    def _changed(self, old: Service | None, new: Service | None) -> None:
        if new is None:
            if old is not None and old.key in self._balanced:
                self._queue.add(old.key)
            return
        due, event = decide.counts(old, new)
        if event is not None:
            self._recorder.record(new, "Normal", *event)
        if due:
            self._due.add(new.key)
            self._queue.add(new.key)

    def _node_changed(self, _: Node | None, __: Node | None) -> None:
        if (names := self._names()) == self._targets:
            return
        self._targets = names
        self._metrics.nodes_changed(self._balanced.keys())
        for key in self._balanced:
            self._queue.add(key)

    def _usable(self) -> list[Node]:
        return list(decide.usable(self._nodes.snapshot().values()))

    def _names(self) -> frozenset[str]:
        return frozenset(node.metadata.name for node in self._usable())

    def _lost(self, key: Key, text: str) -> None:
        if (service := self._balanced.get(key)) is not None:
            self._recorder.record(service, "Warning", "LoadBalancerLost", text)
            self._due.add(key)
            self._queue.add(key)

    def _fault(self, text: str) -> None:
        self._recorder.record(self._lease, "Warning", "InvalidCloudConfig", text)

    def _try_refused(self) -> None:
        for key in self._refused:
            self._queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            began = time.monotonic()
            try:
                await self._round(key)
                self._queue.forget(key)
                self._refused.discard(key)
                self._metrics.done(key)
            except (SyncError, CloudError, ClientError) as err:
                logger.warning("%s %s: %s", COMPONENT, "/".join(key), err)
                self._again(key)
            except Exception:  # a defect shown by one Service must not stop the others
                logger.exception("%s %s failed", COMPONENT, "/".join(key))
                self._again(key)
            finally:
                self._queue.done(key)
                self._queued.work.observe("service", value=time.monotonic() - began)

    def _again(self, key: Key) -> None:
        self._due.add(key)
        self._refused.add(key)
        self._queue.retry(key)

    async def _round(self, key: Key) -> None:
        service, before = self._services.get(*key), self._balanced.get(key)
        if before is not None and (service is None or service.metadata.uid != before.metadata.uid):
            await self._bury(key, before)
        if service is None:
            return
        if key not in self._due:
            await self._update_hosts(service)
            return
        self._due.discard(key)
        self._balanced[key] = service
        try:
            await self._sync(service)
        except (SyncError, CloudError, ClientError) as err:
            text = f"Error syncing load balancer: {err}"
            self._recorder.record(service, "Warning", "SyncLoadBalancerFailed", text)
            raise

    async def _bury(self, key: Key, before: Service) -> None:
        """Delete the load balancer of a Service that went without our cleanup."""
        if decide.wants(before):
            self._tell(before, "DeletingLoadBalancer", "Deleting load balancer")
            try:
                await self._balancers.delete(self._cluster, before)
            except CloudError as err:
                text = f"Error deleting load balancer: {err}"
                self._recorder.record(before, "Warning", "DeleteLoadBalancerFailed", text)
                raise
            self._tell(before, "DeletedLoadBalancer", "Deleted load balancer")
        self._balanced.pop(key, None)

    async def _sync(self, service: Service) -> None:
        if decide.wants(service) and not decide.needs_cleanup(service):
            wanted = await self._ensure(service)
        else:
            await self._clean(service)
            self._balanced.pop(service.key, None)
            wanted = LoadBalancerStatus()
        await self._write_status(service, wanted)

    async def _ensure(self, service: Service) -> LoadBalancerStatus:
        self._tell(service, "EnsuringLoadBalancer", "Ensuring load balancer")
        if not decide.has_finalizer(service):
            what = "failed to add load balancer cleanup finalizer"
            await self._patch(service, what, {"metadata": {"finalizers": [decide.FINALIZER]}})
        nodes = self._usable()
        if not nodes:
            self._no_nodes(service)
        try:
            status = await self._balancers.ensure(self._cluster, service, nodes)
        except CloudError as err:
            if isinstance(err, BalancerLostError):
                await self._write_status(service, LoadBalancerStatus())
            raise SyncError(f"failed to ensure load balancer: {err}") from err
        self._tell(service, "EnsuredLoadBalancer", "Ensured load balancer")
        return status

    async def _clean(self, service: Service) -> None:
        if await self._balancers.get(self._cluster, service) is not None:
            self._tell(service, "DeletingLoadBalancer", "Deleting load balancer")
            try:
                await self._balancers.delete(self._cluster, service)
            except CloudError as err:
                raise SyncError(f"failed to delete load balancer: {err}") from err
        if decide.has_finalizer(service):
            what = "failed to remove load balancer cleanup finalizer"
            gone = {"$deleteFromPrimitiveList/finalizers": [decide.FINALIZER]}
            await self._patch(service, what, {"metadata": gone})
        self._tell(service, "DeletedLoadBalancer", "Deleted load balancer")

    async def _update_hosts(self, service: Service) -> None:
        if not decide.wants(service):
            return
        nodes = self._usable()
        try:
            with self._metrics.update():
                await self._balancers.update(self._cluster, service, nodes)
        except CloudError as err:
            names = [node.metadata.name for node in nodes]
            text = f"Error updating load balancer with new hosts {names}: {err}"
            self._recorder.record(service, "Warning", "UpdateLoadBalancerFailed", text)
            raise
        if nodes:
            text = "Updated load balancer with new hosts"
            self._tell(service, "UpdatedLoadBalancer", text)
        else:
            self._no_nodes(service)

    async def _write_status(self, service: Service, wanted: LoadBalancerStatus) -> None:
        if decide.same_status(service.status.load_balancer, wanted):
            return
        change = {"status": {"loadBalancer": {"ingress": [i.wire() for i in wanted.ingress]}}}
        await self._patch(service, "failed to update load balancer status", change)

    async def _patch(self, service: Service, what: str, change: dict[str, Any]) -> None:
        """Change exactly this Service; one that is gone needs no change. Raises SyncError."""
        meta = service.metadata
        metadata = change.get("metadata", {}) | {"uid": meta.uid}
        try:
            written = await self._writer.patch(
                kinds.SERVICE,
                meta.namespace,
                meta.name,
                change | {"metadata": metadata},
                type="strategic",
                subresource="status",
            )
        except ApiError as err:
            if err.not_found:
                return
            raise SyncError(f"{what}: {err}") from err
        self._services.learn(written)

    def _tell(self, service: Service, reason: str, text: str) -> None:
        self._recorder.record(service, "Normal", reason, text)

    def _no_nodes(self, service: Service) -> None:
        text = "There are no available nodes for LoadBalancer"
        self._recorder.record(service, "Warning", "UnAvailableLoadBalancer", text)
