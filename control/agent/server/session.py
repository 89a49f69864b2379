"""Carries a command's or a container's streams to a client and back, until either ends.

The client's transport is a WebSocket or SPDY; the session is the same.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from aiohttp import ClientConnectionResetError, web

from control.agent.config import StreamLimits
from control.agent.server import streams, websocket
from control.agent.server.channels import (
    Channel,
    Piece,
    StreamClient,
    Wanted,
    exit_status,
    failure_status,
    parse_size,
)
from control.agent.server.errors import HttpError
from control.runtime.base import ContainerRuntimeError, ExecStream
from control.upgrade import SPDY, asks

# How long to wait for output after the command has ended: a background process that it left behind
# may hold the pipe open.
_DRAIN_SECONDS = 1.0
logger = logging.getLogger(__name__)
_conversations: "set[asyncio.Task[None]]" = set()  # asyncio itself holds tasks weakly


class Idle:
    """Notices that no byte has moved for some time (seconds)."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._loop = seconds, asyncio.get_running_loop()
        self.touch()

    def touch(self) -> None:
        """Note that bytes move."""
        self._since = self._loop.time()

    async def expired(self) -> None:
        """Return when no byte has moved for so long."""
        left = self._seconds
        while left > 0:
            await asyncio.sleep(left)
            left = self._since + self._seconds - self._loop.time()


def transport(request: web.Request) -> str:
    """Return ``websocket`` or ``SPDY/3.1``, as a request asks; raises HttpError for others."""
    for protocol in ("websocket", SPDY):
        if asks(request.headers, protocol):
            return protocol
    raise HttpError(400, f"Upgrade request required: streams need a WebSocket or {SPDY}")


async def serve(
    request: web.Request,
    wanted: Wanted,
    start: Callable[[], Awaitable[ExecStream]],
    limits: StreamLimits,
) -> web.StreamResponse:
    """Accept a client, start its command and carry the streams; raises HttpError before."""
    client = await _accept(request)
    try:
        if await client.open(wanted, limits.opening):
            await converse(client, await start(), wanted, limits)
    except ContainerRuntimeError as err:
        await client.end(failure_status(str(err)))
    except ClientConnectionResetError:
        pass  # the client left before its command began
    return client.response


async def _accept(request: web.Request) -> StreamClient:
    if transport(request) == SPDY:
        return streams.SpdyClient(*await streams.accept(request, streams.PROTOCOLS))
    return websocket.WebSocketClient(await websocket.accept(request, websocket.PROTOCOLS))


async def converse(
    client: StreamClient, stream: ExecStream, wanted: Wanted, limits: StreamLimits
) -> None:
    """Carry a command's streams until it ends or the client is gone, then end the command.

    What the client has sent before it left is input: the command has ``limits.finishing`` seconds
    for it, as some clients (ansible's k8s_cp) send, and leave at once. aiohttp cancels this
    function when the client leaves, perhaps twice; the conversation has a task of its own.
    """
    talk = asyncio.create_task(_converse(client, stream, wanted, limits))
    _conversations.add(talk)
    talk.add_done_callback(_forget)
    try:
        await asyncio.shield(talk)
    except asyncio.CancelledError:
        if not limits.finishing:
            talk.cancel()
        raise


def _forget(talk: "asyncio.Task[None]") -> None:
    _conversations.discard(talk)
    if not talk.cancelled() and (err := talk.exception()):
        logger.info("a session has ended: %s", err)


async def _converse(
    client: StreamClient, stream: ExecStream, wanted: Wanted, limits: StreamLimits
) -> None:
    idle = Idle(limits.idle)
    feeding = asyncio.create_task(_feed(client.pieces(), stream, wanted, idle))
    working = asyncio.create_task(_work(client, stream, wanted, idle))
    waiting = asyncio.create_task(idle.expired())
    tasks = (feeding, working, waiting)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if limits.finishing and feeding.done() and not working.done():
            await stream.close_input()
            await asyncio.wait((working,), timeout=limits.finishing)
        elif working.done():
            # While a task reads the socket, close() does not wait for the peer: RFC 6455, 7.1.1.
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await client.end(exit_status(working.result()))
    except ClientConnectionResetError:
        return
    finally:
        for task in tasks:
            task.cancel()
        await stream.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(
    pieces: AsyncIterator[Piece], stream: ExecStream, wanted: Wanted, idle: Idle
) -> None:
    """Carry input from the client to the command, until the client is gone."""
    async for piece in pieces:
        idle.touch()
        if piece.channel is Channel.STDIN and piece.data is None:
            await stream.close_input()
        elif piece.channel is Channel.STDIN and piece.data and wanted.stdin:
            await stream.write(piece.data)
        elif piece.channel is Channel.RESIZE and (size := parse_size(piece.data or b"")):
            stream.resize(*size)


async def _work(client: StreamClient, stream: ExecStream, wanted: Wanted, idle: Idle) -> int:
    """Carry output to the client; return the command's exit code once all output is sent."""

    async def send(channel: Channel, data: bytes) -> None:
        idle.touch()
        with suppress(ClientConnectionResetError):  # _feed sees that the client has left
            await client.send(channel, data)

    async def drop(_: Channel, __: bytes) -> None:
        """Drop unwanted output: the command must not block on it."""

    ended = asyncio.create_task(stream.wait())
    try:
        async with asyncio.TaskGroup() as pumps:
            for channel, read, keep in (
                (Channel.STDOUT, stream.read_output, wanted.stdout),
                (Channel.STDERR, stream.read_errors, wanted.stderr),
            ):
                pumps.create_task(_pump(read, channel, send if keep else drop, ended))
        return await ended
    except* ClientConnectionResetError as gone:
        raise gone.exceptions[0] from None
    finally:
        ended.cancel()


async def _pump(
    read: Callable[[], Awaitable[bytes]],
    channel: Channel,
    write: Callable[[Channel, bytes], Awaitable[None]],
    ended: "asyncio.Task[int]",
) -> None:
    while data := await _next(read, ended):
        await write(channel, data)


async def _next(read: Callable[[], Awaitable[bytes]], ended: "asyncio.Task[int]") -> bytes:
    """Return the next piece of output; empty at the end, or some time after the command's."""
    reading = asyncio.ensure_future(read())
    try:
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({reading}, timeout=_DRAIN_SECONDS)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
