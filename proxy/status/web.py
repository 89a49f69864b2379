"""The proxy's HTTP servers: health for load balancers, metrics and mode for people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from proxy.status.health import HealthResponse, ProxyHealth
from proxy.status.metrics import ProxyMetrics
from proxy.status.process import configz, process_text, statusz

logger = logging.getLogger("podwire.proxy.web")

EVERY_PATH = "/{path:.*}"

Handler = Callable[[web.Request], web.Response | Awaitable[web.Response]]


def health_routes(health: ProxyHealth, metrics: ProxyMetrics) -> Mapping[str, Handler]:
    """Return /healthz and /livez, whose answers are counted by their status."""

    def counted(name: str, response: HealthResponse) -> web.Response:
        metrics.add(name, label=str(response.status))
        return web.json_response(response.body, status=response.status)

    return {
        "/healthz": lambda _: counted("proxy_healthz_total", health.healthz()),
        "/livez": lambda _: counted("proxy_livez_total", health.livez()),
    }


def metrics_routes(
    metrics: ProxyMetrics, mode: str, counters: Callable[[], str], document: Mapping[str, Any]
) -> Mapping[str, Handler]:
    """Return /metrics, and /proxyMode, /configz and /statusz as upstream has them.

    ``document`` is the configuration in force.

    ``counters`` returns more lines of metrics. It runs in a thread, because it reads the kernel's
    counters.
    """

    async def everything(_: web.Request) -> web.Response:
        await asyncio.to_thread(metrics.refresh)
        text = metrics.text() + process_text() + await asyncio.to_thread(counters)
        return web.Response(text=text, headers={"X-Content-Type-Options": "nosniff"})

    routes: dict[str, Handler] = {
        "/metrics": everything,
        "/proxyMode": lambda _: web.Response(text=mode),
        "/healthz": lambda _: web.Response(text="ok"),
        "/configz": lambda _: configz(document),
    }
    paths = [*routes, "/statusz"]
    return {**routes, "/statusz": lambda request: statusz(request, paths)}


@asynccontextmanager
async def serving(
    routes: Mapping[str, Handler], host: str | None, port: int
) -> AsyncIterator[None]:
    """Serve while the context lasts, at every address if ``host`` is None.

    A port that is taken is logged, not fatal: forwarding packets matters more than answering
    questions.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(listening(routes, [host], port))
        except OSError as err:
            logger.error("cannot listen on %s:%d: %s", host or "*", port, err.strerror)
        yield


@asynccontextmanager
async def listening(
    routes: Mapping[str, Handler], hosts: Iterable[str | None], port: int
) -> AsyncIterator[None]:
    """Serve at these addresses while the context lasts; None means every address.

    A route answers every method, as upstream's do. Raises OSError.
    """
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", path, _handler(handler))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        for host in hosts:
            await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _handler(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        response = handler(request)
        return response if isinstance(response, web.Response) else await response

    return handle
