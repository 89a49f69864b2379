"""Serves /health, /ready and /metrics, each at CoreDNS' port."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from control.dns.settings import Bind

_TEXT = "text/plain; version=0.0.4"


async def serve_pages(
    stack: AsyncExitStack,
    binds: dict[str, Bind],
    is_ready: Callable[[], bool],
    metrics: Callable[[], str],
) -> None:
    """Serve each page of ``binds`` at its address until the stack closes; raises OSError."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def ready(_: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="OK")
        return web.Response(status=503, text="kubernetes")  # who is not ready, as in CoreDNS

    async def measures(_: web.Request) -> web.Response:
        return web.Response(text=metrics(), headers={"Content-Type": _TEXT})

    pages = {"/health": health, "/ready": ready, "/metrics": measures}
    for path, bind in binds.items():
        app = web.Application()
        app.router.add_get(path, pages[path])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, bind.host or None, bind.port).start()
