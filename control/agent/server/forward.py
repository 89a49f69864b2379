"""/portForward: connections to ports of a Pod, many over one connection of a client.

There are two protocols. In SPDY/3.1 each connection is a pair of streams, one for data and one for
errors; kubectl up to 1.30 speaks it as it is, later ones inside binary WebSocket messages
(KEP-4006). Other clients use v4.channel.k8s.io: each port has one connection, and a pair of
channels.
"""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import ClientConnectionResetError, WSMsgType, web

from control.agent.config import StreamLimits
from control.agent.server import streams, websocket
from control.agent.server.dial import Connection, DialError
from control.agent.server.errors import HttpError
from control.agent.server.session import Idle, transport
from control.spdy import Data, Decoder, Encoder, Event, Opened, Ping, Reset, SpdyError
from control.upgrade import SPDY

logger = logging.getLogger(__name__)

PLAIN = "portforward.k8s.io"
TUNNEL, CHANNELS = f"{SPDY}+{PLAIN}", "v4.channel.k8s.io"
PROTOCOLS = (TUNNEL, CHANNELS)
_PIECE = 32 * 1024
_WAITING = 4  # pieces that wait for a slow connection before all other connections wait too
MOST_CONNECTIONS = 500  # at a time, of one client

Dial = Callable[[int], Awaitable[Connection]]
Send = Callable[[bytes], Awaitable[None]]


class Session(Protocol):
    """One client's connections, in one of the protocols."""

    async def begin(self) -> None:
        """Send the first messages."""

    async def take(self, data: bytes) -> None:
        """Handle a message from the client; raises SpdyError."""

    async def close(self) -> None:
        """End all connections."""


def parse_ports(values: list[str]) -> tuple[int, ...]:
    """Parse the ports from kubelet's query parameter; raises HttpError (400)."""
    texts = [text for value in values for text in value.split(",")]
    for text in texts:
        if not _is_port(text):
            raise HttpError(400, f'unable to parse "{text}" as a port')
    return tuple(int(text) for text in texts)


async def serve(
    request: web.Request, dial: Dial, ports: tuple[int, ...], limits: StreamLimits
) -> web.StreamResponse:
    """Accept a client and carry its connections; raises HttpError before."""
    idle = Idle(limits.idle)
    if transport(request) == SPDY:
        wire, _ = await streams.accept(request, (PLAIN,))
        tunnel = Tunnel(_noted(wire.write, idle), dial, limits.opening)
        await _until_idle(_spdy(wire.pieces(), tunnel, idle), idle)
        return wire.response
    socket = await websocket.accept(request, PROTOCOLS, TUNNEL)
    send = _noted(socket.send_bytes, idle)
    session: Session = (
        Tunnel(send, dial, limits.opening)
        if socket.ws_protocol == TUNNEL
        else Channels(send, dial, ports)
    )
    await _until_idle(_websocket(socket, session, idle), idle)
    return socket


def _noted(send: Send, idle: Idle) -> Send:
    async def noted(data: bytes) -> None:
        idle.touch()
        await send(data)

    return noted


async def _until_idle(carrying: Coroutine[None, None, None], idle: Idle) -> None:
    """Carry a session until it ends, or no byte has moved for too long."""
    tasks = asyncio.create_task(carrying), asyncio.create_task(idle.expired())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not tasks[0].cancelled():
        tasks[0].result()


async def _spdy(pieces: AsyncIterator[bytes], session: Session, idle: Idle) -> None:
    try:
        await _carry_session(pieces, session, idle)
    except SpdyError as err:
        logger.warning("a client's port-forward has ended: %s", err)


async def _websocket(socket: web.WebSocketResponse, session: Session, idle: Idle) -> None:
    try:
        await _carry_session(_messages(socket), session, idle)
    except SpdyError as err:
        await socket.close(code=1002, message=str(err).encode()[:120])


async def _messages(socket: web.WebSocketResponse) -> AsyncIterator[bytes]:
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            yield message.data


async def _carry_session(pieces: AsyncIterator[bytes], session: Session, idle: Idle) -> None:
    """Carry a session until the client is gone; raises SpdyError."""
    try:
        await session.begin()
        async for piece in pieces:
            idle.touch()
            await session.take(piece)
    except ClientConnectionResetError:
        return
    finally:
        await session.close()


class Lines:
    """The connections of a session, by the number of the stream that carries the data."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._waiting: dict[int, asyncio.Queue[bytes]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """The number of connections."""
        return len(self._tasks)

    def expect(self, number: int) -> None:
        """Keep data for a connection that will be started."""
        self._waiting[number] = asyncio.Queue(_WAITING)

    async def feed(self, number: int, data: bytes) -> None:
        """Pass on data from the client; empty data is its end. Without a connection, drop it."""
        if queue := self._waiting.get(number):
            await queue.put(data)

    def start(self, number: int, port: int, send: Send, finish: Send) -> None:
        """Connect; ``finish`` is called at the end, with the error if there was one."""
        task = asyncio.create_task(self._run(number, port, send, finish))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def cancel(self, number: int) -> None:
        """End a connection that the client has given up."""
        self._forget(number)
        if task := self._tasks.get(number):
            task.cancel()

    def _forget(self, number: int) -> None:
        """Drop data that waits; a feeder that waits for room goes on."""
        queue = self._waiting.pop(number, None)
        while queue and not queue.empty():
            queue.get_nowait()

    async def close(self) -> None:
        """End all connections."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, number: int, port: int, send: Send, finish: Send) -> None:
        queue, problem = self._waiting[number], ""
        try:
            await _carry(await self._dial(port), queue, send)
        except (DialError, ConnectionError) as err:
            problem = f"error forwarding port {port}: {err}"
        finally:
            self._forget(number)
        with suppress(ClientConnectionResetError):
            await finish(problem.encode())


async def _carry(connection: Connection, queue: "asyncio.Queue[bytes]", send: Send) -> None:
    """Carry data both ways, until the Pod ends its side."""
    reader, writer = connection
    feeding = asyncio.create_task(_feed(queue, writer))
    try:
        while data := await reader.read(_PIECE):
            await send(data)
    finally:
        feeding.cancel()
        writer.close()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(queue: "asyncio.Queue[bytes]", writer: asyncio.StreamWriter) -> None:
    while data := await queue.get():
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class Tunnel:
    """SPDY/3.1: a connection is a pair of streams, which the client opens."""

    def __init__(self, send: Send, dial: Dial, seconds: float) -> None:
        self._send, self._lines, self._seconds = send, Lines(dial), seconds
        self._decoder, self._encoder = Decoder(), Encoder()
        self._pairs: dict[str, Pair] = {}  # by request, until both streams are open

    async def begin(self) -> None:
        """Send nothing: the client begins."""

    async def take(self, data: bytes) -> None:
        """Handle a piece of SPDY; raises SpdyError."""
        for event in self._decoder.feed(data):
            await self._handle(event)

    async def close(self) -> None:
        """End all connections."""
        for pair in self._pairs.values():
            pair.expiry.cancel()
        await self._lines.close()

    async def _handle(self, event: Event) -> None:
        match event:
            case Opened():
                await self._opened(event)
            case Data():
                if event.data:
                    await self._lines.feed(event.stream, event.data)
                if event.final:
                    await self._lines.feed(event.stream, b"")
            case Reset():
                self._lines.cancel(event.stream)
            case Ping():
                await self._send(self._encoder.pong(event.number))

    async def _opened(self, event: Opened) -> None:
        kind, port = event.headers.get("streamtype", ""), event.headers.get("port", "")
        request = _request(event, kind)
        pair = self._pairs.get(request)
        valid = _is_port(port) and kind in ("data", "error")
        fits = kind not in pair.streams if pair else len(self) < MOST_CONNECTIONS
        if not (valid and fits):
            await self._send(self._encoder.reset(event.stream))
            return
        if pair is None:
            pair = self._expect(request)
        pair.streams[kind] = event.stream
        if kind == "data":
            self._lines.expect(event.stream)
        await self._send(self._encoder.accepted(event.stream))
        if len(pair.streams) == 2:
            self._pairs.pop(request).expiry.cancel()
            self._start(int(port), **pair.streams)

    def __len__(self) -> int:
        """The number of connections, also of those that have one stream only."""
        return len(self._pairs) + len(self._lines)

    def _expect(self, request: str) -> "Pair":
        """Wait for a pair of streams, for some time."""
        loop = asyncio.get_running_loop()
        pair = Pair({}, loop.call_later(self._seconds, self._expire, request))
        self._pairs[request] = pair
        return pair

    def _expire(self, request: str) -> None:
        """Give up a pair whose other stream has not come."""
        for stream in self._pairs.pop(request).streams.values():
            self._lines.cancel(stream)

    def _start(self, port: int, data: int, error: int) -> None:
        async def send(piece: bytes) -> None:
            await self._send(self._encoder.data(data, piece))

        async def finish(problem: bytes) -> None:
            # kubectl waits for the end of the error stream, to see if the connection failed.
            await self._send(self._encoder.data(data, b"", final=True))
            await self._send(self._encoder.data(error, problem, final=True))

        self._lines.start(data, port, send, finish)


@dataclass(frozen=True, slots=True)
class Pair:
    """The streams of one connection that are open, by type, and the timer for the other."""

    streams: dict[str, int]
    expiry: asyncio.TimerHandle


def _request(event: Opened, kind: str) -> str:
    """Return what a pair's streams have in common.

    Clients before Kubernetes 1.2 number no requests; their streams follow each other, the one for
    errors first.
    """
    first = event.stream if kind == "error" else event.stream - 2
    return event.headers.get("requestid") or f"stream {first}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


class Channels:
    """The other protocol: channel 2N carries the data of the Nth port, 2N+1 its errors."""

    def __init__(self, send: Send, dial: Dial, ports: tuple[int, ...]) -> None:
        self._send, self._lines, self._ports = send, Lines(dial), ports

    async def begin(self) -> None:
        """Send each channel's first message: its port, in little endian."""
        for number, port in enumerate(self._ports):
            for channel in (2 * number, 2 * number + 1):
                await self._send(struct.pack("<BH", channel, port))
            self._start(2 * number, port)

    def _start(self, channel: int, port: int) -> None:
        async def send(piece: bytes) -> None:
            await self._send(bytes([channel]) + piece)

        async def finish(problem: bytes) -> None:
            if problem:
                await self._send(bytes([channel + 1]) + problem)

        self._lines.expect(channel)
        self._lines.start(channel, port, send, finish)

    async def take(self, data: bytes) -> None:
        """Pass on a piece for one channel."""
        if len(data) > 1:
            await self._lines.feed(data[0], data[1:])

    async def close(self) -> None:
        """End all connections."""
        await self._lines.close()
