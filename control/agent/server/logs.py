"""GET /containerLogs: streams a container's log."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from aiohttp import web

from control.agent.server.errors import HttpError
from control.agent.server.logfile import LogFile
from control.agent.server.logtext import Options, Renderer, parse_options
from control.runtime.base import Container

_POLL_SECONDS = 0.1  # between two reads of a followed log

Ended = Callable[[], bool]


def options_of(request: web.Request) -> Options:
    """Parse a request's options; raises HttpError."""
    return parse_options(request.query, time.time_ns())


async def send(
    request: web.Request, container: Container, options: Options, ended: Ended
) -> web.StreamResponse:
    """Stream a container's log as an HTTP answer; raises HttpError if there is no log."""
    log = open_log(container)
    try:
        if options.tail is not None:
            await asyncio.to_thread(log.seek_tail, options.tail)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        renderer = Renderer(options)
        async with aclosing(lines_of(log, options.follow, ended)) as pieces:
            async for lines in pieces:
                await response.write(renderer.render(lines))
                if renderer.full:
                    break
        await response.write_eof()
        return response
    finally:
        log.close()


def open_log(container: Container) -> LogFile:
    """Open a log at its beginning; raises HttpError."""
    try:
        return LogFile(Path(container.log_path))
    except OSError as err:
        raise HttpError(
            404,
            f'unable to retrieve the logs of container "{container.name}": '
            f"{container.log_path}: {err.strerror}",
        ) from err


async def lines_of(log: LogFile, follow: bool, ended: Ended) -> AsyncGenerator[list[bytes], None]:
    """Yield a log's lines in pieces: up to its present end, or up to its container's end."""
    while True:
        last = not follow or ended()  # checked first: a container's last lines are then read too
        while lines := log.read():
            yield lines
            await asyncio.sleep(0)  # a long log must not block the node's other work
        if last:
            return
        await asyncio.sleep(_POLL_SECONDS)
