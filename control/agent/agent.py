"""The agent of one node: starts its informers, Pod workers, network and server."""

import asyncio
import logging
import signal
import ssl
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

from control.agent.certificates import SERVER, Renewals, stand_in
from control.agent.config import Config
from control.agent.configz import kubelet_configuration
from control.agent.container_runtime import Collect
from control.agent.eviction import Evictions
from control.agent.images.collection import ImageCollector
from control.agent.images.manager import ImageManager
from control.agent.machinery import Machinery, real
from control.agent.measured import RuntimeMetrics, count
from control.agent.network_status import NetworkStatus
from control.agent.node import describe
from control.agent.node.all_nodes import AllNodes
from control.agent.node.images import reported
from control.agent.node.register import Registration
from control.agent.pods import allocation
from control.agent.pods.allocation import Allocations
from control.agent.pods.context import WorkerContext
from control.agent.pods.fields import Host
from control.agent.pods.objects import Objects
from control.agent.pods.static import is_mirror
from control.agent.pods.worker import PodWorker
from control.agent.resizes import Resizes
from control.agent.rotation import LogRotation
from control.agent.server.access import Access
from control.agent.server.app import serve, server_tls
from control.agent.shutdown import Shutdown
from control.agent.static.mirrors import NodePods, StaticPods
from control.agent.volumes.claims import Claims
from control.agent.volumes.provisioner import Provisioner
from control.agent.workers import Workers
from control.api import kinds
from control.api.node import ContainerImage, Node
from control.api.pod import Pod
from control.api.quantity import parse
from control.api.service import ObjectReference, Service
from control.client import Client, Informer
from control.client.events import EventRecorder, reference
from control.metrics import Registry
from control.node_network.plan import differ
from control.node_network.sync import NodeNetwork, NodeNetworkSettings
from control.runtime.base import ContainerRuntimeError
from control.runtime.cni.plugin import PluginError

if TYPE_CHECKING:
    from control.agent.static.folder import Manifests

logger = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 60.0
_GARBAGE_SECONDS = 600.0
_RESIZE_MILLISECONDS = (
    *(10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 30000.0),
    *(60000.0, 120000.0, 300000.0, 600000.0),
)
_READY = ("Ready", "True")


class Agent:
    """One node's agent."""

    def __init__(
        self,
        config: Config,
        client: Client,
        events: EventRecorder,
        network_client: Client | None = None,
        provisioner: Provisioner | None = None,
        metrics: Registry | None = None,
        machinery: Machinery | None = None,
    ) -> None:
        """``network_client`` may list all Nodes, as the node network needs; default: ``client``.

        ``provisioner`` makes volumes; default: nobody does. ``metrics`` are shown, with the agent's
        own. ``machinery`` is the machine; default: this one.
        """
        self._config, self._client, self._events = config, client, events
        self._machinery = machinery or real(config)
        self.metrics = metrics or Registry()
        self.runtime = self._machinery.runtime
        self._counts = RuntimeMetrics(self.metrics)
        count(self.runtime, self._counts)
        self.workers: dict[str, PodWorker] = {}
        self._allocations = Allocations(config.root / allocation.FILE)
        self._resizes = self._make_resizes()
        self._evictions = self._make_evictions()
        self._make_informers(network_client or client)
        self._shutdown = Shutdown(config.shutdown, self.workers, lambda: self._registration.wake())
        self._workers = Workers(
            self.workers, self._resizes, self._evictions, self._shutdown, self._node
        )
        self._static = StaticPods(_manifests(config), client, self._pods, self._node, self._workers)
        self.pods = NodePods(self._pods, self._static)
        self._provisioner = provisioner
        self._last: asyncio.Task[None] | None = None
        self._network_status = NetworkStatus(self._machinery.problem, self._on_network)
        self._registration = self._make_registration()
        self._network = self._make_network() if self._machinery.has_network else None

    def _make_evictions(self) -> Evictions:
        return Evictions(
            self._config.eviction_hard,
            self._config.root,
            self.workers,
            lambda: self._registration.wake(),
            look=self._machinery.look,
        )

    def _make_informers(self, network_client: Client) -> None:
        client, name = self._client, self._config.identity.name
        self._pods = Informer(client, kinds.POD, field_selector=f"spec.nodeName={name}")
        # A node may read its own Node only; the node network needs them all.
        self._own = Informer(client, kinds.NODE, field_selector=f"metadata.name={name}")
        self._nodes = AllNodes(network_client, self._own)
        self._services = Informer(client, kinds.SERVICE)

    def _make_registration(self) -> Registration:
        return Registration(
            self._client,
            self._config.identity,
            self._machinery.look,
            self._problem,
            self._image_list,
            self._evictions,
        )

    def _problem(self) -> str:
        return describe.SHUTTING_DOWN if self._shutdown.is_on else self._network_status.problem

    def _make_network(self) -> NodeNetwork:
        config = self._config
        settings = NodeNetworkSettings(
            config.identity.name, config.overlay, config.cluster, config.conflist
        )
        return NodeNetwork(settings, self._nodes.known, self._network_status.wake)

    @property
    def node(self) -> Node | None:
        """This node's object; None if it is not known yet."""
        return self._node()

    def _node(self) -> Node | None:
        return self._own.get(None, self._config.identity.name)

    def _make_resizes(self) -> Resizes:
        return Resizes(
            self.workers,
            self._allocations,
            self._node,
            self.metrics,
            supported=self.runtime.resizes,
        )

    @property
    def name(self) -> str:
        """The node's name."""
        return self._config.identity.name

    @property
    def settings(self) -> Mapping[str, object]:
        """The agent's settings, as its server shows them."""
        return kubelet_configuration(self._config)

    async def run(self) -> None:
        """Run until cancelled; containers keep running without an agent."""
        async with AsyncExitStack() as stack:
            stack.callback(self.runtime.close)
            self._config.root.mkdir(parents=True, exist_ok=True)
            await self.runtime.open()
            self._registration.set_runtime(f"{self.runtime.name}://{self.runtime.version}")
            session = await stack.enter_async_context(aiohttp.ClientSession())
            self._context = self._worker_context(session)
            self._workers.open(self._context)
            tls = self._server_tls()
            access = Access(self.name, self._client)
            await stack.enter_async_context(serve(self._config.server, self, access, tls))
            await self._static.open()
            self._subscribe()
            self._on_signal()
            async with asyncio.TaskGroup() as group:
                for work in self._parts():
                    group.create_task(work)
                group.create_task(self._renewals().run(tls))

    def _on_signal(self) -> None:
        """End Pods before the agent ends, if it ends with the machine; again: end at once."""
        main, loop = asyncio.current_task(), asyncio.get_running_loop()
        if main is None or not self._config.shutdown.whole:
            return

        def stop() -> None:
            if self._last is not None:
                main.cancel()
                return
            self._last = asyncio.create_task(self._shutdown.run(self._context))
            self._last.add_done_callback(lambda _: main.cancel())

        loop.add_signal_handler(signal.SIGTERM, stop)

    def _server_tls(self) -> ssl.SSLContext | None:
        config = self._config
        if config.certificates.server:
            stand_in(config.certificates.path(SERVER), self.name, self._hosts())
        return server_tls(config.server, tokens=True) if config.server.certificate else None

    def _renewals(self) -> Renewals:
        return Renewals(self._config.certificates, self.name, self._hosts(), self._client)

    def _hosts(self) -> tuple[str, ...]:
        return (self.name, *self._config.identity.addresses)

    def _parts(self) -> tuple[Coroutine[Any, Any, None], ...]:
        informers = (self._pods, self._own, self._services)
        collect = self._machinery.collect
        return (
            *(informer.run() for informer in informers),
            self._registration.run(),
            *self._network_parts(),
            self._network_status.run(),
            self._keep_house(),
            self._resizes.run(self._pods.synced),
            self._evictions.run(self._context),
            self._static.run(),
            self._image_collector().run(),
            *(
                ()
                if self.runtime.rotates
                else (LogRotation(self.runtime, self._config.logs).run(),)
            ),
            *((self._collect_garbage(collect),) if collect else ()),
            *((self._provision(self._provisioner),) if self._provisioner else ()),
        )

    def _network_parts(self) -> tuple[Coroutine[Any, Any, None], ...]:
        if self._network is None:
            return ()
        return self._nodes.follow(self._network.wake), self._network.run()

    def _image_collector(self) -> ImageCollector:
        # As kubelet: the UID of its Node in Events is the name.
        about = ObjectReference(kind="Node", name=self.name, uid=self.name)

        def warn(reason: str, message: str) -> None:
            self._events.record(about, "Warning", reason, message)

        policy, pulled = self._config.image_collection, self._context.images.pulled
        return ImageCollector(self.runtime, policy, pulled, warn)

    def _subscribe(self) -> None:
        self.runtime.subscribe(self._workers.wake)
        self._machinery.on_health(self._network_status.wake)
        self._pods.subscribe(self._on_pod)
        self._own.subscribe(self._on_own)
        if self._network is not None:
            self._nodes.subscribe(self._network.changed)

    def _worker_context(self, session: aiohttp.ClientSession) -> WorkerContext:
        config = self._config
        machine = self._machinery.look()
        left = describe.allocatable(machine, {"memory": 0, **self._evictions.reserved(machine)})
        host = Host(
            config.identity.name,
            config.identity.addresses,
            parse(machine.cpus),
            parse(machine.memory),
            config.seccomp_default,
            parse(left["memory"]),
        )
        return WorkerContext(
            runtime=self.runtime,
            client=self._client,
            images=ImageManager(self.runtime, config.root),
            objects=Objects(self._client),
            volumes=self._machinery.volumes,
            claims=Claims(self._client, config.identity.name),
            prober=self._machinery.prober(self.runtime, session),
            host=host,
            dns=config.dns(),
            services=self._all_services,
            no_network=self._no_network,
            record=self._record,
            allocations=self._allocations,
            resize_times=self.metrics.histogram(
                "kubelet_pod_resize_duration_milliseconds",
                "Duration in milliseconds to actuate a pod resize",
                "success",
                buckets=_RESIZE_MILLISECONDS,
            ),
            runs=self._counts.runs,
            clock=time.time,
        )

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        shown = [it if it is not None and is_mirror(it) else None for it in (old, new)]
        real = [it if it is not None and not is_mirror(it) else None for it in (old, new)]
        if any(shown):
            self._static.mirrored(*shown)
        if any(real):
            self._workers.changed(*real)

    def _on_own(self, old: Node | None, new: Node | None) -> None:
        if self._network is not None:
            self._network.changed(old, new)
        elif differ(old, new):
            self._network_status.wake()
        self._static.wake()
        if new is None:
            self._registration.wake()

    def _on_network(self, problem: str) -> None:
        self._registration.wake()
        for worker in self.workers.values() if not problem else ():
            worker.retry()

    async def _provision(self, provisioner: Provisioner) -> None:
        """Make volumes, from when the node is ready: no claim asks for this node before."""
        ready = asyncio.Event()

        def seen(_: Node | None, node: Node | None) -> None:
            states = node.status.conditions if node is not None else []
            if any((it.type, it.status) == _READY for it in states):
                ready.set()

        forget = self._own.subscribe(seen)
        await ready.wait()
        forget()
        await provisioner.run()

    async def _keep_house(self) -> None:
        """End what belongs to no Pod, as soon as Pods are known and then every minute."""
        await self._pods.synced.wait()
        while True:
            self._workers.end_orphans()
            self._allocations.keep(self.workers.keys())
            self._context.objects.forget()
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    async def _collect_garbage(self, collect: Collect) -> None:
        """Run CNI GC; seldom, because no Pod can be connected meanwhile."""
        await self._pods.synced.wait()
        while True:
            try:
                await collect(self.runtime.sandbox_ids)
            except PluginError as err:
                logger.warning("CNI GC: %s", err)
            await asyncio.sleep(_GARBAGE_SECONDS)

    def _all_services(self) -> tuple[Service, ...]:
        return tuple(self._services.snapshot().values())

    async def _no_network(self) -> str:
        return describe.no_network(await self._network_status.now())

    async def _image_list(self) -> list[ContainerImage]:
        try:
            return reported(await self.runtime.images())
        except ContainerRuntimeError:
            return []  # the condition Ready says what is wrong with the runtime

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


def _manifests(config: Config) -> "Manifests | None":
    if config.manifests is None:
        return None
    # Here, because the checks of Pods take 10 MB that a node without static Pods does not need.
    from control.agent.static.folder import Manifests

    return Manifests(config.manifests, config.identity.name)
