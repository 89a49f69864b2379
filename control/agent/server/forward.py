"""/portForward: connections to ports of a Pod, many over one WebSocket.

There are two protocols. kubectl's is SPDY/3.1 inside binary messages (KEP-4006): each connection is
a pair of streams, one for data and one for errors. Other clients use v4.channel.k8s.io: each port
has one connection, and a pair of channels.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from aiohttp import ClientConnectionResetError, WSMsgType, web

from control.agent.server.dial import Connection, DialError
from control.agent.server.errors import HttpError
from control.agent.server.spdy import Data, Decoder, Encoder, Event, Opened, Ping, Reset, SpdyError

TUNNEL, CHANNELS = "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (TUNNEL, CHANNELS)
_PIECE = 32 * 1024
_WAITING = 16  # pieces that wait for a slow connection before all other connections wait too

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
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
            raise HttpError(400, f'unable to parse "{text}" as a port')
    return tuple(int(text) for text in texts)


async def serve(socket: web.WebSocketResponse, session: Session) -> None:
    """Carry a session until the client is gone."""
    try:
        await session.begin()
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await session.take(message.data)
    except ClientConnectionResetError:
        return
    except SpdyError as err:
        await socket.close(code=1002, message=str(err).encode()[:120])
    finally:
        await session.close()


class Lines:
    """The connections of a session, by the number of the stream that carries the data."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._waiting: dict[int, asyncio.Queue[bytes]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

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
        self._waiting.pop(number, None)
        if task := self._tasks.get(number):
            task.cancel()

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
            self._waiting.pop(number, None)
            while not queue.empty():  # a feeder that waits for room must go on
                queue.get_nowait()
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
    """kubectl's protocol: SPDY/3.1 inside WebSocket messages."""

    def __init__(self, send: Send, dial: Dial) -> None:
        self._send, self._lines = send, Lines(dial)
        self._decoder, self._encoder = Decoder(), Encoder()
        self._pairs: dict[str, dict[str, int]] = {}  # request -> streamtype -> stream

    async def begin(self) -> None:
        """Send nothing: the client begins."""

    async def take(self, data: bytes) -> None:
        """Handle a piece of SPDY; raises SpdyError."""
        for event in self._decoder.feed(data):
            await self._handle(event)

    async def close(self) -> None:
        """End all connections."""
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
        if kind not in ("data", "error") or not (port.isdigit() and 0 < int(port) < 65536):
            await self._send(self._encoder.reset(event.stream))
            return
        if kind == "data":
            self._lines.expect(event.stream)
        await self._send(self._encoder.accepted(event.stream))
        request = event.headers.get("requestid", port)
        pair = self._pairs.setdefault(request, {})
        pair[kind] = event.stream
        if len(pair) == 2:
            self._start(int(port), **self._pairs.pop(request))

    def _start(self, port: int, data: int, error: int) -> None:
        async def send(piece: bytes) -> None:
            await self._send(self._encoder.data(data, piece))

        async def finish(problem: bytes) -> None:
            # kubectl waits for the end of the error stream, to see if the connection failed.
            await self._send(self._encoder.data(data, b"", final=True))
            await self._send(self._encoder.data(error, problem, final=True))

        self._lines.start(data, port, send, finish)


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
