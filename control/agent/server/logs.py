"""GET /containerLogs: what a container has written, and what it goes on writing."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from aiohttp import web

from control.agent.server.logfile import LogFile
from control.agent.server.logtext import Options, Renderer, parse_options
from control.agent.server.refusal import Refusal
from control.runtime.base import Container

_LOOK_SECONDS = 0.1  # how often a followed log is looked at

Ended = Callable[[], bool]


def options_of(request: web.Request) -> Options:
    """What is wanted of the log; raises Refusal."""
    return parse_options(request.query, time.time_ns())


async def send(
    request: web.Request, container: Container, options: Options, ended: Ended
) -> web.StreamResponse:
    """Stream a container's log as an HTTP answer; raises Refusal when there is none."""
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
    """The log from its beginning; raises Refusal."""
    try:
        return LogFile(Path(container.log_path))
    except OSError as err:
        raise Refusal(
            404,
            f'unable to retrieve the logs of container "{container.name}": '
            f"{container.log_path}: {err.strerror}",
        ) from err


async def lines_of(log: LogFile, follow: bool, ended: Ended) -> AsyncGenerator[list[bytes], None]:
    """A log's lines in pieces, up to its end as it is now, or up to its container's end."""
    while True:
        last = not follow or ended()  # asked first: what a container writes at last is read too
        while lines := log.read():
            yield lines
            await asyncio.sleep(0)  # a long log must not hold up the node's other work
        if last:
            return
        await asyncio.sleep(_LOOK_SECONDS)
