"""Carries out ``podwire web``."""

import asyncio
import socket
from contextlib import closing
from functools import partial
from pathlib import Path

import click
from aiohttp import web

from debug import snapshot as snapshots
from debug.doctor.examine import examine
from debug.map.commands import Ground, followed, taken
from debug.options import decided
from debug.trace.model import Trace
from debug.web.app import application
from debug.web.guard import Guard
from debug.web.lanes import load
from debug.web.live import Live, Source
from lab.shared import plain_errors

_HOST = "127.0.0.1"


def serve(
    options: Ground, path: Path | None, trace: Path | None, port: int, seconds: float
) -> None:
    """Serve the page until Ctrl-C."""
    options = decided(*options)
    with plain_errors(), closing(listen(port)) as listener:
        source = Source(
            take=partial(taken, options, path),
            follow=partial(followed, options, path),
            examine=examine,
        )
        if path is None:
            taken(options, None)  # what cannot be read at all is an error here, not on the page
        else:
            snapshots.load(path)
        lanes = None if trace is None else load(trace)
        try:
            asyncio.run(_serve(listener, source, seconds, lanes))
        except KeyboardInterrupt:  # the way to end it
            return


def listen(port: int) -> socket.socket:
    """Return a socket on loopback alone; raises ClickException."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as err:
        listener.close()
        raise click.ClickException(
            f"the page cannot listen on {_HOST}:{port}: {err.strerror}; choose another --port"
        ) from err
    return listener


async def _serve(
    listener: socket.socket, source: Source, seconds: float, trace: Trace | None
) -> None:
    runner, guard = await start(listener, source, seconds, trace)
    try:
        port = listener.getsockname()[1]
        click.echo(f"open http://{_HOST}:{port}/?token={guard.token} in a browser; Ctrl-C ends it")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def start(
    listener: socket.socket, source: Source, seconds: float, trace: Trace | None = None
) -> tuple[web.AppRunner, Guard]:
    """Serve the page on a socket until the runner is cleaned up; return it, and the lock."""
    guard = Guard(listener.getsockname()[1])
    app = application(guard, Live(source, seconds), trace)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)  # streams do not end alone
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner, guard
