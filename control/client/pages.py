"""The pages of a component that is a client: /metrics and /healthz, over HTTP."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import click
from aiohttp import web

from control.metrics import CONTENT_TYPE, Registry

logger = logging.getLogger(__name__)

metrics_flag = click.option(
    "--metrics-bind-address",
    default="",
    metavar="HOST:PORT",
    help="Serve /metrics and /healthz here, over HTTP. Default: nowhere.",
)


@asynccontextmanager
async def pages(address: str, registry: Registry) -> AsyncIterator[int]:
    """Serve the pages while the context lasts, and give the port; 0 if nothing is served.

    Raises UsageError for a malformed address.

    An address that is taken is logged, not fatal: the component's work matters more.
    """
    if not address:
        yield 0
        return
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"--metrics-bind-address: {address!r} is not HOST:PORT")
    app = web.Application()
    app.router.add_get("/metrics", partial(_text, registry))
    app.router.add_get("/healthz", _ok)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
        except OSError as err:
            logger.warning("metrics at %s: %s; nothing is served there", address, err)
        yield int(runner.addresses[0][1]) if runner.addresses else 0
    finally:
        await runner.cleanup()


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _text(registry: Registry, _: web.Request) -> web.Response:
    return web.Response(text=registry.text(), headers={"Content-Type": CONTENT_TYPE})
