"""Carries a command's or a container's streams over a WebSocket, until either ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import ClientConnectionResetError, WSMsgType, web

from control.agent.server.channels import (
    PROTOCOLS,
    Channel,
    Wanted,
    exit_status,
    failure_status,
    parse_size,
)
from control.agent.server.errors import HttpError
from control.runtime.base import ExecStream

_MOST_BYTES = 32 * 1024 * 1024  # of one message from a client, as upstream takes
# How long to wait for output after the command has ended: a background process that it left behind
# may hold the pipe open.
_DRAIN_SECONDS = 1.0
_HEAD_START_SECONDS = 0.05
_CLOSE_SECONDS = 2.0


async def accept(
    request: web.Request, protocols: tuple[str, ...] = PROTOCOLS
) -> web.WebSocketResponse:
    """Accept a WebSocket; raises HttpError for other requests, and for unknown protocols."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise HttpError(
            400,
            f"streams need a WebSocket ({' or '.join(protocols)}), SPDY alone is not supported: "
            "use kubectl 1.31 or later",
        )
    offered = [
        name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    ]
    if not set(offered) & set(protocols):
        raise HttpError(
            400, f"none of the protocols {offered} is supported: want one of {list(protocols)}"
        )
    socket = web.WebSocketResponse(
        protocols=protocols, max_msg_size=_MOST_BYTES, compress=False, timeout=_CLOSE_SECONDS
    )
    await socket.prepare(request)
    return socket


async def connect(request: web.Request, wanted: Wanted) -> web.WebSocketResponse:
    """Accept a session of a command, and tell the client; raises HttpError."""
    socket = await accept(request)
    # kubectl, up to 1.32 at least, makes its streams right after the handshake, and drops messages
    # that arrive earlier.
    await asyncio.sleep(_HEAD_START_SECONDS)
    await socket.send_bytes(bytes([wanted.first]))
    return socket


async def stop(reading: "asyncio.Task[None]") -> None:
    """End a reader of a WebSocket, so that closing can wait for the client's answer."""
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def end(socket: web.WebSocketResponse, status: bytes) -> None:
    """Send the final Status, unless the client is gone, and close."""
    with suppress(ClientConnectionResetError):
        await socket.send_bytes(bytes([Channel.ERROR]) + status)
    await socket.close()


async def fail(socket: web.WebSocketResponse, message: str) -> None:
    """End a session that could not start."""
    await end(socket, failure_status(message))


async def converse(socket: web.WebSocketResponse, stream: ExecStream, wanted: Wanted) -> None:
    """Carry a command's streams until it ends or the client is gone, then end the command."""
    feeding = asyncio.create_task(_feed(socket, stream, wanted))
    working = asyncio.create_task(_work(socket, stream, wanted))
    try:
        await asyncio.wait({feeding, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            # While a task reads the socket, close() does not wait for the peer: RFC 6455, 7.1.1.
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await end(socket, exit_status(working.result()))
    except ClientConnectionResetError:
        return
    finally:
        feeding.cancel()
        working.cancel()
        # First of all: a client's end cancels this task, perhaps twice, and the command must end.
        await stream.close()
        await asyncio.gather(feeding, working, return_exceptions=True)


async def _feed(socket: web.WebSocketResponse, stream: ExecStream, wanted: Wanted) -> None:
    """Carry input from the client to the command, until the client is gone."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == Channel.STDIN and wanted.stdin:
            await stream.write(data)
        elif channel == Channel.RESIZE and (size := parse_size(data)):
            stream.resize(*size)
        elif channel == Channel.CLOSE and data == bytes([Channel.STDIN]):
            await stream.close_input()


async def _work(socket: web.WebSocketResponse, stream: ExecStream, wanted: Wanted) -> int:
    """Carry output to the client; return the command's exit code once all output is sent."""

    async def send(channel: Channel, data: bytes) -> None:
        await socket.send_bytes(bytes([channel]) + data)

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
