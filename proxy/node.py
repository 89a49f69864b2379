"""One node's proxy: connects the parts that watch objects, write rules and serve health."""

import logging
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_network

from control.client import Client, EventRecorder
from proxy.applier import Applier
from proxy.backends.base import open_backend
from proxy.config import ProxyConfig, pods_of
from proxy.counters.counting import ServiceCounters
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.linux.nft_events import NftListener
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.objects.feed import Feed, following
from proxy.repair import Repair, watching
from proxy.status.events import EventReporter
from proxy.status.health import ProxyHealth
from proxy.status.metrics import ProxyMetrics
from proxy.status.service_health import ServiceHealth, hosts_of
from proxy.status.web import health_routes, metrics_routes, serving
from proxy.sync import Listener, Syncer
from proxy.sysctl import prepare

logger = logging.getLogger("podwire.proxy")


async def serve(config: ProxyConfig, client: Client) -> None:
    """Serve until cancelled. An earlier run's rules stay until all objects were listed."""
    health, metrics = ProxyHealth(time.time), ProxyMetrics()
    settings, events = prepare(config.settings, config.tracking), NftListener()
    counting = ServiceCounters(settings, config.counters)
    tracker = Tracker(NodeView(config.node_name), settings.families)
    syncer = Syncer(tracker, health, metrics, config.min_sync_period)
    async with AsyncExitStack() as stack:
        stack.callback(events.close)
        recorder = EventRecorder(client, "kube-proxy", host=config.node_name)
        report = EventReporter(await stack.enter_async_context(recorder), config.node_name)
        feed = Feed(tracker, metrics, syncer.changed, config.mode, report)
        for routes, listen in (
            (health_routes(health), config.healthz),
            (metrics_routes(metrics, config.mode, counting.text), config.metrics),
        ):
            if listen:
                await stack.enter_async_context(serving(routes, listen.host, listen.port))
        await stack.enter_async_context(
            following(client, feed, config.node_name, config.proxy_name, config.service_ranges)
        )
        if config.pods_by_node:
            settings = await _with_node_ranges(settings, feed, tracker)
        if config.node_ports_by_node:
            settings = await _with_node_addresses(settings, feed, tracker)
        checks = ServiceHealth(health, report, hosts_of(settings))
        stack.push_async_callback(checks.close)
        applier = _applier(config, settings, metrics, counting, events)
        repair = Repair(applier, metrics, syncer.changed, report)
        await stack.enter_async_context(watching(applier, repair))
        logger.info("node %s: serving Services by %s", config.node_name, config.mode)
        await syncer.run(applier.apply, _reporting(repair, checks))


def _applier(
    config: ProxyConfig,
    settings: ProxySettings,
    metrics: ProxyMetrics,
    counting: ServiceCounters,
    events: NftListener,
) -> Applier:
    backend = open_backend(config.mode, settings, config.backend_options)
    keep = config.keep_other_proxies
    return Applier(config.mode, backend, settings, metrics, counting, events, keep_others=keep)


def _reporting(repair: Repair, checks: ServiceHealth) -> Listener:
    """Return the listener that reports after each sync."""

    async def synced(want: Desired) -> None:
        repair.tell_of_rivals()
        await checks.update(want)

    return synced


async def _with_node_ranges(settings: ProxySettings, feed: Feed, tracker: Tracker) -> ProxySettings:
    """Detect Pods by this Node's own ranges. A new Node gets them later; wait for them."""
    if not tracker.node.pod_cidrs:
        logger.info("waiting for the Pod ranges of Node %s", tracker.node.name)
    await feed.has_ranges.wait()
    return replace(settings, pods=pods_of(tracker.node.pod_cidrs))


async def _with_node_addresses(
    settings: ProxySettings, feed: Feed, tracker: Tracker
) -> ProxySettings:
    """Serve NodePorts also at this Node's own first address of each family.

    A new Node gets its addresses later; wait for them.
    """
    if not tracker.node.addresses:
        logger.info("waiting for the addresses of Node %s", tracker.node.name)
    await feed.has_addresses.wait()
    primary = {address.version: address for address in reversed(tracker.node.addresses)}
    networks = (*(settings.node_port_networks or ()), *map(ip_network, primary.values()))
    return replace(settings, node_port_networks=networks)
