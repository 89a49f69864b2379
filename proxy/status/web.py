"""The proxy's HTTP servers: health for load balancers, metrics and mode for people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from proxy.status.health import HealthResponse, ProxyHealth
from proxy.status.metrics import ProxyMetrics

logger = logging.getLogger("podwire.proxy.web")

EVERY_PATH = "/{path:.*}"

Handler = Callable[[], web.Response | Awaitable[web.Response]]


def health_routes(health: ProxyHealth) -> Mapping[str, Handler]:
    """Return /healthz and /livez."""
    return {"/healthz": lambda: _json(health.healthz()), "/livez": lambda: _json(health.livez())}


def metrics_routes(
    metrics: ProxyMetrics, mode: str, counters: Callable[[], str]
) -> Mapping[str, Handler]:
    """Return /metrics, and /proxyMode as upstream has it.

    ``counters`` returns more lines of metrics. It runs in a thread, because it reads the kernel's
    counters.
    """

    async def everything() -> web.Response:
        text = metrics.text() + await asyncio.to_thread(counters)
        return web.Response(text=text, headers={"X-Content-Type-Options": "nosniff"})

    return {
        "/metrics": everything,
        "/proxyMode": lambda: web.Response(text=mode),
        "/healthz": lambda: web.Response(text="ok"),
    }


def _json(response: HealthResponse) -> web.Response:
    return web.json_response(response.body, status=response.status)


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
    async def handle(_: web.Request) -> web.Response:
        response = handler()
        return response if isinstance(response, web.Response) else await response

    return handle
