"""Serves TCP: a message of two bytes' length each, many of them a connection (RFC 7766)."""

import asyncio
import logging
import socket
from collections.abc import Callable
from time import perf_counter

from control.dns.answer import Answerer, Pending
from control.dns.metrics import Cells
from control.dns.upstream.forwarder import Forwarder

logger = logging.getLogger(__name__)

IDLE_SECONDS = 10.0  # between two queries of a connection, and for a query that has begun
MOST_CONNECTIONS = 256
Log = Callable[[object, bytes, bytes], None]


class TcpServer:
    """Answers on one listening socket, a connection's queries in their order."""

    def __init__(
        self,
        sock: socket.socket,
        answerer: Answerer,
        log: Log | None = None,
        idle: float = IDLE_SECONDS,
        *,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._socket, self._answerer, self._forwarder = sock, answerer, forwarder
        self._log, self._idle = log, idle
        self._open = 0
        self.cells = Cells("tcp", 1 if sock.family == socket.AF_INET else 2)

    async def serve(self) -> None:
        """Serve for ever."""
        self._socket.setblocking(False)
        server = await asyncio.start_server(self._connected, sock=self._socket)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the client went, or was silent for too long
        finally:
            self._open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        while True:
            async with asyncio.timeout(self._idle):
                size = int.from_bytes(await reader.readexactly(2))
                packet = await reader.readexactly(size)
            response = await self._answer(packet)
            if response is None:
                return
            if self._log is not None:
                self._log(peer, packet, response)
            writer.write(len(response).to_bytes(2) + response)
            async with asyncio.timeout(self._idle):
                await writer.drain()

    async def _answer(self, packet: bytes) -> bytes | None:
        began = perf_counter()
        found = self._answerer.answer(packet, tcp=True)
        if isinstance(found, Pending):
            assert self._forwarder is not None  # noqa: S101  # it gives the routes
            reply = await self._forwarder.resolve(found.route, found.question)
            found = self._answerer.finish(found, reply)
        if found is None:
            return None
        response = packet[:2] + found.variants[0]
        cell = self.cells.of(packet, found.zone, found.rcode, len(response), found.plugin)
        cell.add(perf_counter() - began)
        return response
