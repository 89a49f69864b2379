"""The proxy's HTTP servers: health for load balancers, metrics and mode for people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from aiohttp import web

from proxy.status.health import HealthResponse, ProxyHealth
from proxy.status.metrics import ProxyMetrics
from proxy.status.process import configz, process_text, statusz

logger = logging.getLogger("podwire.proxy.web")

EVERY_PATH = "/{path:.*}"
# Seconds that aiohttp waits for answers under way, and then for connections to end; its default is
# 60. It also waits for one that was accepted just now and whose requests it reads no more (3.14).
_LAST_ANSWERS = 0.1

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

    A route answers every method, as upstream's do. Who is still connected at the end is cut off
    within a moment: a sync of rules may wait for it. Raises OSError.
    """
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", path, _handler(handler))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS)
    await runner.setup()
    server = cast(web.Server, runner.server)  # ``setup`` has made it
    try:
        async with AsyncExitStack() as stack:
            for host in hosts:
                await stack.enter_async_context(_accepting(server, host, port))
            yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _accepting(handler: web.Server, host: str | None, port: int) -> AsyncIterator[None]:
    """Accept connections at an address while the context lasts.

    A server that is closed between accepting a connection and making its transport keeps the
    connection open until garbage is collected (CPython 3.11): so it accepts no more before.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(handler, host, port)
    try:
        yield
    finally:
        for listener in server.sockets:
            loop.remove_reader(listener)
        try:
            await asyncio.sleep(0)  # what was accepted has its transport
        finally:
            server.close()


def _handler(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        response = handler(request)
        return response if isinstance(response, web.Response) else await response

    return handle
