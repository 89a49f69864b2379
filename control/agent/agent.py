"""The agent of one node: starts its informers, Pod workers, network and server."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import aiohttp

from control.agent import storage
from control.agent.admission import admit
from control.agent.config import Config
from control.agent.network_status import NetworkStatus
from control.agent.node import describe
from control.agent.node.register import Registration
from control.agent.pods import allocation, decide
from control.agent.pods.allocation import Allocations
from control.agent.pods.context import WorkerContext
from control.agent.pods.fields import Host
from control.agent.pods.objects import Objects
from control.agent.pods.probes import Prober
from control.agent.pods.volumes import Volumes
from control.agent.pods.worker import PodWorker
from control.agent.resizes import Resizes
from control.agent.server.app import serve
from control.agent.volumes.claims import Claims
from control.agent.volumes.provisioner import Provisioner
from control.api import kinds
from control.api.container import Container as ContainerSpec
from control.api.meta import ObjectMeta
from control.api.node import ContainerImage, Node
from control.api.pod import Pod, PodSpec
from control.api.quantity import parse
from control.api.service import Service
from control.client import Client, Informer
from control.client.events import EventRecorder, reference
from control.metrics import Registry
from control.node_network.sync import NodeNetwork, NodeNetworkSettings
from control.runtime.base import Phase, PodRef
from control.runtime.builtin.runtime import BuiltinRuntime
from control.runtime.cni.network import CniNetwork
from control.runtime.cni.plugin import PluginError
from control.runtime.images.store import ImageStore

logger = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 60.0
_GARBAGE_SECONDS = 600.0
_RESIZE_MILLISECONDS = (
    *(10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 30000.0),
    *(60000.0, 120000.0, 300000.0, 600000.0),
)
_READY = ("Ready", "True")
_STORAGE_SECONDS = 10.0  # as kubelet's eviction manager


class Agent:
    """One node's agent."""

    def __init__(
        self,
        config: Config,
        client: Client,
        events: EventRecorder,
        network_client: Client | None = None,
        provisioner: Provisioner | None = None,
    ) -> None:
        """``network_client`` may list all Nodes, as the node network needs; default: ``client``.

        ``provisioner`` makes volumes; default: nobody does.
        """
        self._config, self._client, self._events = config, client, events
        self._images = ImageStore(*config.image_dirs)
        self._cni = CniNetwork(config.cni_conf_dir, config.cni_bin_dirs, config.cni_cache_dir)
        self.runtime = BuiltinRuntime(config.root, self._images, self._cni, config.cgroups())
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.metrics = Registry()
        self._allocations = Allocations(config.root / allocation.FILE)
        self._resizes = self._make_resizes()
        self.pods = Informer(
            client, kinds.POD, field_selector=f"spec.nodeName={config.identity.name}"
        )
        self._nodes = Informer(network_client or client, kinds.NODE)
        self._services = Informer(client, kinds.SERVICE)
        self._provisioner = provisioner
        self._network_status = NetworkStatus(self._cni.status, self._on_network)
        self._registration = Registration(
            client,
            config.identity,
            config.root,
            lambda: self._network_status.problem,
            self._image_list,
        )
        settings = NodeNetworkSettings(
            config.identity.name, config.overlay, config.cluster, config.conflist
        )
        self._network = NodeNetwork(settings, self._all_nodes, self._network_status.wake)

    def _make_resizes(self) -> Resizes:
        name = self._config.identity.name
        return Resizes(
            self.workers,
            self._allocations,
            lambda: self._nodes.get(None, name),
            self.metrics,
            supported=self.runtime.resizes,
        )

    @property
    def name(self) -> str:
        """The node's name."""
        return self._config.identity.name

    async def run(self) -> None:
        """Run until cancelled; containers keep running without an agent."""
        async with AsyncExitStack() as stack:
            stack.callback(self.runtime.close)
            self._config.root.mkdir(parents=True, exist_ok=True)
            await self.runtime.open()
            session = await stack.enter_async_context(aiohttp.ClientSession())
            self._context = self._worker_context(session)
            await stack.enter_async_context(serve(self._config.server, self))
            self._subscribe()
            async with asyncio.TaskGroup() as group:
                for work in self._parts():
                    group.create_task(work)

    def _parts(self) -> tuple[Coroutine[Any, Any, None], ...]:
        informers = (self.pods, self._nodes, self._services)
        return (
            *(informer.run() for informer in informers),
            self._registration.run(),
            self._network.run(),
            self._network_status.run(),
            self._keep_house(),
            self._resizes.run(self.pods.synced),
            self._collect_garbage(),
            self._watch_storage(),
            *((self._provision(self._provisioner),) if self._provisioner else ()),
        )

    def _subscribe(self) -> None:
        self.runtime.subscribe(self._on_runtime)
        self.pods.subscribe(self._on_pod)
        self._nodes.subscribe(self._on_node)

    def _worker_context(self, session: aiohttp.ClientSession) -> WorkerContext:
        config = self._config
        machine = describe.look(config.root)
        host = Host(
            config.identity.name,
            config.identity.addresses,
            parse(machine.cpus),
            parse(machine.memory),
            config.seccomp_default,
        )
        return WorkerContext(
            runtime=self.runtime,
            client=self._client,
            objects=Objects(self._client),
            volumes=Volumes(config.root / "pods"),
            claims=Claims(self._client, config.identity.name),
            prober=Prober(self.runtime, session),
            host=host,
            dns=config.dns(),
            services=self._all_services,
            record=self._record,
            allocations=self._allocations,
            resize_times=self.metrics.histogram(
                "kubelet_pod_resize_duration_milliseconds",
                "Duration in milliseconds to actuate a pod resize",
                "success",
                buckets=_RESIZE_MILLISECONDS,
            ),
            clock=time.time,
        )

    def _on_pod(self, _old: Pod | None, new: Pod | None) -> None:
        if new is None:
            if _old is not None and (worker := self.workers.get(_old.metadata.uid)):
                worker.lost()
            return
        if _old is not None and _old.metadata.uid != new.metadata.uid:
            self._on_pod(_old, None)
        worker = self.workers.get(new.metadata.uid)
        if worker is None:
            self._begin(new)
        else:
            old = worker.wanted
            worker.update(new)
            self._resizes.updated(worker, old)

    def _begin(self, pod: Pod, *, gone: bool = False) -> None:
        worker = PodWorker(self._context, pod, gone=gone)
        uid = pod.metadata.uid
        self.workers[uid] = worker
        if not gone:
            self._admit(pod, worker)
            if worker.takes_room and not self._allocations.knows(uid):
                self._allocations.allocate(pod)
            self._resizes.added(worker)
        task = asyncio.create_task(worker.run(), name=f"pod {pod.metadata.name}")
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _admit(self, pod: Pod, worker: PodWorker) -> None:
        """Admit or reject a new Pod; one that runs here was admitted by an earlier agent."""
        node = self._nodes.get(None, self._config.identity.name)
        sandboxes, _ = self._context.of(pod.metadata.uid)
        over = pod.status.phase in ("Succeeded", "Failed") or decide.is_deleted(pod)
        if node is None or sandboxes or over or pod.status.start_time:
            return
        others = [
            other.pod
            for uid, other in self.workers.items()
            if uid != pod.metadata.uid and other.takes_room
        ]
        if refusal := admit(worker.pod, others, node):
            worker.reject(refusal.reason, refusal.message)

    def _ended(self, uid: str, task: "asyncio.Task[None]") -> None:
        worker = self.workers.pop(uid, None)
        self._tasks.pop(uid, None)
        if worker is not None and worker.finished:
            self._resizes.removed(uid)
        if not task.cancelled() and task.exception():
            logger.error("the worker of Pod %s ended", uid, exc_info=task.exception())

    def _on_runtime(self, pod: PodRef) -> None:
        if worker := self.workers.get(pod.uid):
            worker.wake()

    def _on_node(self, _old: Node | None, new: Node | None) -> None:
        self._network.wake()
        gone = new is None and _old is not None and _old.metadata.name == self._config.identity.name
        if gone:
            self._registration.wake()

    def _on_network(self, problem: str) -> None:
        self._registration.wake()
        for worker in self.workers.values() if not problem else ():
            worker.retry()

    async def _provision(self, provisioner: Provisioner) -> None:
        """Make volumes, from when the node is ready: no claim asks for this node before."""
        ready = asyncio.Event()

        def seen(_: Node | None, node: Node | None) -> None:
            mine = node is not None and node.metadata.name == self._config.identity.name
            states = node.status.conditions if node is not None and mine else []
            if any((it.type, it.status) == _READY for it in states):
                ready.set()

        forget = self._nodes.subscribe(seen)
        await ready.wait()
        forget()
        await provisioner.run()

    async def _keep_house(self) -> None:
        """End what belongs to no Pod, as soon as Pods are known and then every minute."""
        await self.pods.synced.wait()
        while True:
            self._end_orphans()
            self._allocations.keep(self.workers.keys())
            self._context.objects.forget()
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    async def _collect_garbage(self) -> None:
        """Run CNI GC; seldom, because no Pod can be connected meanwhile."""
        await self.pods.synced.wait()
        while True:
            try:
                await self._cni.collect(self.runtime.sandbox_ids)
            except PluginError as err:
                logger.warning("CNI GC: %s", err)
            await asyncio.sleep(_GARBAGE_SECONDS)

    async def _watch_storage(self) -> None:
        """Evict Pods that exceed their limits of disk space."""
        while True:
            await asyncio.sleep(_STORAGE_SECONDS)
            for worker in [*self.workers.values()]:
                if worker.takes_room and storage.is_limited(worker.pod):
                    await self._check_storage(worker)

    async def _check_storage(self, worker: PodWorker) -> None:
        uid = worker.pod.metadata.uid
        containers = {
            item.name: (self._config.root / "containers" / item.id, Path(item.log_path).parent)
            for item in self._context.of(uid)[1]
            if item.phase is Phase.RUNNING
        }
        volumes = self._context.volumes.folder(uid) / "volumes"
        message = await asyncio.to_thread(storage.excess, worker.pod, volumes, containers)
        if message:
            worker.evict(message)

    def _end_orphans(self) -> None:
        """End Pods that were deleted while no agent ran."""
        observed = self.runtime.observe()
        known = {sandbox.pod.uid: sandbox.pod for sandbox in observed.sandboxes}
        known |= {container.pod.uid: container.pod for container in observed.containers}
        uids = known.keys() | self._context.volumes.uids()
        for uid in uids - self.workers.keys():
            ref = known.get(uid, PodRef("", "", uid))
            logger.info("Pod %s (%s) is gone from the API: ending it", ref, uid)
            self._begin(_orphan(ref, observed.containers), gone=True)

    def _all_nodes(self) -> list[Node]:
        return list(self._nodes.snapshot().values())

    def _all_services(self) -> tuple[Service, ...]:
        return tuple(self._services.snapshot().values())

    def _image_list(self) -> list[ContainerImage]:
        return [
            ContainerImage(names=[image.name], size_bytes=image.size)
            for image in self._images.list()
        ]

    def _record(
        self,
        pod: Pod,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        container: str = "",
    ) -> None:
        about = reference(pod)
        if container:
            about = about.model_copy(update={"field_path": f"spec.containers{{{container}}}"})
        self._events.record(about, kind, reason, message)


def _orphan(ref: PodRef, containers: Any) -> Pod:
    """Make a Pod object from what the runtime knows, when the API has it no more."""
    names = {container.name for container in containers if container.pod.uid == ref.uid}
    spec = PodSpec(containers=[ContainerSpec(name=name) for name in sorted(names)])
    meta = ObjectMeta(name=ref.name, namespace=ref.namespace, uid=ref.uid)
    return Pod(metadata=meta, spec=spec)
