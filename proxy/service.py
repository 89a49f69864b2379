"""One node's proxy, put together: objects in, rules out, and its health served meanwhile."""

import logging
import time
from contextlib import AsyncExitStack

from control.client import Client
from proxy.backend import open_backend
from proxy.cleaner import Cleaner
from proxy.config import Config
from proxy.feed import Feed, following
from proxy.health import Health
from proxy.metrics import Metrics
from proxy.model import NodeView
from proxy.sync import Pace, Syncer
from proxy.sysctl import prepare
from proxy.tracker import Tracker
from proxy.web import health_routes, metrics_routes, serving

log = logging.getLogger("podwire.proxy")


async def serve(config: Config, client: Client) -> None:
    """Serve until cancelled. The rules of an earlier run stand until everything was listed."""
    health, metrics = Health(time.time), Metrics()
    settings = prepare(config.settings)
    tracker = Tracker(NodeView(config.node_name), settings.families)
    async with AsyncExitStack() as stack:
        if config.healthz:
            routes = health_routes(health)
            await stack.enter_async_context(
                serving(routes, config.healthz.host, config.healthz.port)
            )
        if config.metrics:
            routes = metrics_routes(metrics, config.mode)
            await stack.enter_async_context(
                serving(routes, config.metrics.host, config.metrics.port)
            )
        backend = open_backend(config.mode, settings, config.backend_options)
        cleaner, pace = Cleaner(settings), Pace(config.min_sync_period)
        syncer = Syncer(tracker, backend, cleaner, health, metrics, pace)
        feed = Feed(tracker, metrics, syncer.changed, config.proxy_name)
        await stack.enter_async_context(
            following(client, feed, config.node_name, config.proxy_name)
        )
        log.info("node %s: serving Services by %s", config.node_name, config.mode)
        syncer.changed()
        await syncer.run()
