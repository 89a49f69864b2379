"""HTTP/1.1 connections that change to another protocol (RFC 9110, section 7.8): bytes both ways.

aiohttp knows one protocol to change to, WebSocket. The same hooks serve here for SPDY.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress

import aiohttp
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

_WAITING = 64 * 1024  # bytes that wait for a reader before the peer must wait
SPDY = "SPDY/3.1"
REQUEST_LINE = 64 * 1024  # bytes: the command of an exec is in it; aiohttp's own limit is 8190
VERSIONS = "X-Stream-Protocol-Version"  # subprotocols: offered in requests, chosen in the answer


def asks(headers: Mapping[str, str], protocol: str) -> bool:
    """Return True if a request asks to change to a protocol."""
    upgrade = "upgrade" in headers.get("Connection", "").lower()
    return upgrade and headers.get("Upgrade", "").lower() == protocol.lower()


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Return True if a request asks to change to any protocol."""
    return "upgrade" in headers.get("Connection", "").lower() and bool(headers.get("Upgrade"))


def offered(values: Iterable[str]) -> list[str]:
    """Return the subprotocols of all headers of a name, best first."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


class Upgraded:
    """The bytes of a connection after its change; it ends with the request that asked for it."""

    def __init__(self, protocol: BaseProtocol) -> None:
        self._protocol = protocol
        self._writer = StreamWriter(protocol, asyncio.get_running_loop())
        self._buffer, self._ended, self._changed = bytearray(), False, asyncio.Event()

    async def read(self) -> bytes:
        """Return the next bytes; empty when the peer has disconnected."""
        while not self._buffer and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if (transport := self._protocol.transport) is not None:
            transport.resume_reading()
        return data

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield bytes until the peer has disconnected."""
        while data := await self.read():
            yield data

    async def write(self, data: bytes) -> None:
        """Send bytes; wait for a slow peer. Raises ClientConnectionResetError."""
        await self._writer.write(data)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from aiohttp, as its parsers do: go on, and none are left over."""
        self._buffer += data
        self._changed.set()
        # Not by the protocol: it would pause its parser of HTTP, which has ended.
        if len(self._buffer) > _WAITING and (transport := self._protocol.transport) is not None:
            transport.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """Take the end of the connection from aiohttp."""
        self._ended = True
        self._changed.set()


class Accepted(Upgraded):
    """The server's end of such a connection."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        super().__init__(request.protocol)
        self.response = response  # which the request's handler must return


async def accept(request: web.Request, protocol: str, headers: Mapping[str, str]) -> Accepted:
    """Answer 101 to a request, and take its connection over."""
    fields = CIMultiDict({"Connection": "Upgrade", "Upgrade": protocol, **headers})
    response = web.StreamResponse(status=101, headers=fields)
    response.force_close()
    accepted = Accepted(request, response)
    request.protocol.set_parser(accepted)  # type: ignore[arg-type]  # before the peer may send
    await response.prepare(request)
    return accepted


def of_response(response: aiohttp.ClientResponse) -> Upgraded:
    """Take over the connection of an answer 101, until the answer is closed.

    Raises ClientConnectionError if it is lost.
    """
    protocol = response.connection and response.connection.protocol
    if protocol is None:
        raise aiohttp.ClientConnectionError("the connection was lost after the answer 101")
    upgraded = Upgraded(protocol)
    protocol.set_parser(upgraded, aiohttp.EMPTY_PAYLOAD)  # the end comes by feed_eof()
    return upgraded


async def copy_both(one: Upgraded, other: Upgraded) -> None:
    """Carry bytes both ways until one end has disconnected."""
    copies = [asyncio.create_task(_copy(*ends)) for ends in ((one, other), (other, one))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: Upgraded, sink: Upgraded) -> None:
    with suppress(aiohttp.ClientConnectionResetError):  # the sink has disconnected: end the relay
        async for data in source.pieces():
            await sink.write(data)
