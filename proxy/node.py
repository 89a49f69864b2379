"""One node's proxy: connects the parts that watch objects, write rules and serve health."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from ipaddress import ip_network

from msgspec.structs import replace

from control.client import Client, ClientConfig
from proxy.applier import Applier
from proxy.backends.base import Backend, open_backend
from proxy.config import ListenAddress, ProxyConfig, pods_of
from proxy.counters.counting import ServiceCounters
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.early import EarlyStart
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.linux.nft_events import NftListener
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.objects.feed import Feed, following
from proxy.policy.bridge.guard import Surroundings
from proxy.policy.engine import PolicyGuard
from proxy.repair import Repair, watching
from proxy.status.changes import PendingChanges
from proxy.status.events import reporting
from proxy.status.health import ProxyHealth
from proxy.status.local_gaps import LocalGaps
from proxy.status.metrics import ProxyMetrics
from proxy.status.service_health import ServiceHealth, hosts_of
from proxy.status.web import Handler, health_routes, metrics_routes, serving
from proxy.sync import Listener, Syncer

logger = logging.getLogger("podwire.proxy")


class NodeSettings:
    """The settings that follow the Node object: detect-local-mode NodeCIDR, and ``primary``.

    A Node may be made again under its name, with other ranges or addresses.
    """

    def __init__(self, config: ProxyConfig, given: ProxySettings, tracker: Tracker) -> None:
        """``given`` are the settings that flags name."""
        self._config = config
        self._given = given
        self._tracker = tracker
        self.current = given
        self._seen: NodeView | None = None
        self.moved = asyncio.Event()  # set once the Node's are others than ``current``

    def check(self) -> None:
        """Compare ``current`` with the Node as it is now. Call it after each change."""
        node = self._tracker.node
        if node is not self._seen and self._by_node() != self.current:
            self.moved.set()
        self._seen = node

    async def settle(self, feed: Feed) -> ProxySettings:
        """Return the present settings. A new Node has no ranges or addresses yet: wait for them."""
        if self._config.pods_by_node:
            await self._wait(feed.has_ranges, "Pod ranges")
        if self._config.node_ports_by_node:
            await self._wait(feed.has_addresses, "addresses")
        self.current = self._by_node()
        self.moved.clear()
        return self.current

    async def _wait(self, event: asyncio.Event, what: str) -> None:
        if not event.is_set():
            logger.info("waiting for the %s of Node %s", what, self._tracker.node.name)
        await event.wait()

    def _by_node(self) -> ProxySettings:
        node, pods, networks = self._tracker.node, self.current.pods, self._given.node_port_networks
        if self._config.pods_by_node and node.pod_cidrs:
            pods = pods_of(node.pod_cidrs)
        if self._config.node_ports_by_node:
            primary = {address.version: address for address in reversed(node.addresses)}
            networks = (*(networks or ()), *map(ip_network, primary.values()))
            networks = networks if node.addresses else self.current.node_port_networks
        return replace(self._given, pods=pods, node_port_networks=networks)


def run(config: ProxyConfig, access: ClientConfig, early: EarlyStart) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(_until_stopped(config, access, early))


async def _until_stopped(config: ProxyConfig, access: ClientConfig, early: EarlyStart) -> None:
    serving = asyncio.create_task(_connected(config, access, early))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        logger.info("the proxy ends; its rules stay")


async def _connected(config: ProxyConfig, access: ClientConfig, early: EarlyStart) -> None:
    async with Client(access) as client:
        await serve(config, client, early)


async def serve(config: ProxyConfig, client: Client, early: EarlyStart) -> None:
    """Serve until cancelled. An earlier run's rules stay until all objects were listed."""
    settings, loading = early
    events, links = NftListener(), LinkListener(addresses=True)
    health, metrics = ProxyHealth(time.time), ProxyMetrics(config.mode, settings.families)
    changes, gaps = PendingChanges(metrics), LocalGaps(metrics)
    counting = ServiceCounters(settings, config.counters)
    tracker = Tracker(NodeView(config.node_name), settings.families)
    syncer = Syncer(tracker, health, metrics, changes, config.min_sync_period)
    by_node = NodeSettings(config, settings, tracker)
    appliers: list[Applier] = []  # the present one
    around = _surroundings(tracker, by_node, syncer, appliers)
    policies = PolicyGuard(client, around, enabled=config.network_policy)
    changed = _each(by_node.check, syncer.changed, policies.changed)
    async with AsyncExitStack() as stack:
        stack.callback(events.close)
        stack.callback(links.close)
        report = await stack.enter_async_context(reporting(client, config.node_name))
        feed = Feed(tracker, changes, changed, config.mode, report)
        pages = _pages(config, metrics, counting, policies)
        await stack.enter_async_context(_serving(config.healthz, health_routes(health, metrics)))
        await stack.enter_async_context(_serving(config.metrics, pages))
        await stack.enter_async_context(_following(client, feed, config))
        await stack.enter_async_context(policies.guarding(report))
        while True:
            settings = await by_node.settle(feed)
            backend, loading = loading or _backend(config, settings), None
            bridges = PodBridges(settings.pods, links, lambda: policies.needs_bridge_filter)
            applier = _applier(config, backend, settings, metrics, counting, events, bridges)
            appliers[:] = [applier]
            repair = Repair(applier, metrics, syncer.changed, report)
            checks = ServiceHealth(health, report, hosts_of(settings))
            logger.info("node %s: serving Services by %s", config.node_name, config.mode)
            async with _reporting(applier, repair, checks, gaps, syncer, policies) as listener:
                await syncer.run(applier.apply, listener, by_node.moved)
            logger.warning("the Node has other ranges or addresses; all rules are written again")


def _each(*calls: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes these calls, in this order."""

    def call() -> None:
        for each in calls:
            each()

    return call


def _surroundings(
    tracker: Tracker, by_node: NodeSettings, syncer: Syncer, appliers: Sequence[Applier]
) -> Surroundings:
    """Return what policies ask of the proxy. ``appliers`` has the present one, if there is one."""

    def ports() -> Mapping[int, int] | None:
        return appliers[0].guarded_ports if appliers else None

    return Surroundings(lambda: tracker.node, lambda: by_node.current, syncer.changed, ports)


def _following(
    client: Client, feed: Feed, config: ProxyConfig
) -> AbstractAsyncContextManager[None]:
    return following(client, feed, config.node_name, config.proxy_name, config.service_ranges)


def _pages(
    config: ProxyConfig, metrics: ProxyMetrics, counting: ServiceCounters, policies: PolicyGuard
) -> Mapping[str, Handler]:
    def counters() -> str:
        return counting.text() + policies.text()

    return {
        **metrics_routes(metrics, config.mode, counters, config.document),
        **policies.pages(),
    }


def _serving(
    where: ListenAddress | None, routes: Mapping[str, Handler]
) -> AbstractAsyncContextManager[None]:
    """Serve while the context lasts, if there is an address for it."""
    return serving(routes, where.host, where.port) if where else nullcontext()


def _backend(config: ProxyConfig, settings: ProxySettings) -> Backend:
    return open_backend(config.mode, settings, config.backend_options)


def _applier(
    config: ProxyConfig,
    backend: Backend,
    settings: ProxySettings,
    metrics: ProxyMetrics,
    counting: ServiceCounters,
    events: NftListener,
    bridges: PodBridges,
) -> Applier:
    return Applier(
        config.mode,
        backend,
        settings,
        metrics,
        counting,
        events,
        bridges,
        keep_others=config.keep_other_proxies,
    )


@asynccontextmanager
async def _reporting(
    applier: Applier,
    repair: Repair,
    checks: ServiceHealth,
    gaps: LocalGaps,
    syncer: Syncer,
    policies: PolicyGuard,
) -> AsyncIterator[Listener]:
    """Watch for other programs' changes, and give the listener that reports after each sync.

    It tells policies of what the backend has by then.
    """

    async def synced(want: Desired) -> None:
        policies.look()
        repair.tell_of_rivals()
        gaps.update(want)
        await checks.update(want)
        if applier.is_unfinished:
            syncer.unfinished()

    try:
        async with watching(applier, repair):
            yield synced
    finally:
        await checks.close()
