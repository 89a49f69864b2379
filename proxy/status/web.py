"""The proxy's own HTTP: health for load balancers and restarts, metrics and mode for people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from proxy.status.health import HealthResponse, ProxyHealth
from proxy.status.metrics import ProxyMetrics

logger = logging.getLogger("podwire.proxy.web")

Handler = Callable[[], web.Response | Awaitable[web.Response]]


def health_routes(health: ProxyHealth) -> Mapping[str, Handler]:
    """/healthz and /livez."""
    return {"/healthz": lambda: _json(health.healthz()), "/livez": lambda: _json(health.livez())}


def metrics_routes(
    metrics: ProxyMetrics, mode: str, counters: Callable[[], str]
) -> Mapping[str, Handler]:
    """/metrics, and /proxyMode as upstream has it. ``counters`` makes more lines of metrics, in a
    thread, because the kernel has to be asked for them.
    """

    async def everything() -> web.Response:
        text = metrics.text() + await asyncio.to_thread(counters)
        return web.Response(text=text, headers={"X-Content-Type-Options": "nosniff"})

    return {
        "/metrics": everything,
        "/proxyMode": lambda: web.Response(text=mode),
        "/healthz": lambda: web.Response(text="ok"),
    }


def _json(answer: HealthResponse) -> web.Response:
    return web.json_response(answer.body, status=answer.status)


@asynccontextmanager
async def serving(
    routes: Mapping[str, Handler], host: str | None, port: int
) -> AsyncIterator[None]:
    """Serve while the context lasts, at every address if ``host`` is None. A port that is taken is
    logged, not fatal: packets matter more than being asked about them.
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
    """Serve at these addresses while the context lasts; None is every one. Raises OSError."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, _handler(handler))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        for host in hosts:
            await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _handler(answer: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        found = answer()
        return found if isinstance(found, web.Response) else await found

    return handle
