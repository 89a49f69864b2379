"""Accept connections: with deadlines, and so that unknown clients cannot lock out known ones.

A client is unknown until it shows a valid certificate or token. If there are too many unknown ones,
the one that has waited longest is closed: a new one may be an administrator. The deadlines are
upstream's (k8s.io/apiserver/pkg/server/secure_serving.go).
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import StreamReader

from control.server.access.authn import user_of_certificate
from control.server.access.released import Released
from control.server.wire.request import User
from control.tls import RECORD, limit_buffers

logger = logging.getLogger(__name__)

_BACKLOG = 512
_NO_DESCRIPTOR_PAUSE = 0.1


def _later(seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, call)


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Deadlines in seconds, and the number of unknown clients.

    ``header`` counts from the handshake, and for a further request from its first byte; ``later``
    is the clock that it counts by.
    """

    handshake: float = 32.0
    header: float = 32.0
    unknown: int = 512
    later: Callable[[float, Callable[[], None]], asyncio.Handle] = _later


class Visit(asyncio.Protocol):
    """One connection: passes everything on to the HTTP protocol inside."""

    def __init__(self, door: "Door", sock: socket.socket) -> None:
        self._door = door
        self._socket = sock
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.Handle | None = None
        self._body: StreamReader | None = None  # of the last request
        self._ahead = False  # a byte of the next request has come
        self._answered = False
        self.user: User | None = None  # of its certificate

    def known(self) -> None:
        """Note that the client has shown valid credentials."""
        self._door.forget(self)

    def asked(self, body: StreamReader) -> None:
        """Note that a request is complete up to its body."""
        self._disarm()
        self._body, self._ahead, self._answered = body, False, False

    def answered(self) -> None:
        """Note that the last request has its answer: the header of the next one may begin."""
        self._answered = True
        self._expect()

    def _expect(self) -> None:
        """Give a header that has begun its time; a client that sends nothing is only idle."""
        if self._ahead and self._answered and self._deadline is None:
            self._arm()

    def _arm(self) -> None:
        limits = self._door.limits
        self._deadline = limits.later(limits.header, self.end)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def end(self) -> None:
        """Close the connection now, whatever state it is in."""
        self._door.forget(self)
        if self._transport is not None:
            self._transport.abort()
        else:
            with suppress(OSError):  # the client has left
                self._socket.shutdown(socket.SHUT_RDWR)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"{transport} is no stream")
        self._transport = transport
        # The handshake verified the certificate; it stays the same as long as the connection.
        if certificate := transport.get_extra_info("peercert"):
            self.known()
            self.user = user_of_certificate(certificate)
        self._arm()
        self._inner = self._door.protocol()
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._answered = False
        self._door.forget(self)
        self._door.released.count()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._ahead = self._ahead or (self._body is not None and self._body.is_eof())
        if self._inner is not None:
            self._inner.data_received(data)
        self._expect()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


class Door:
    """The listening sockets of a server, and its unknown clients."""

    def __init__(
        self,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        limits: DoorLimits,
    ) -> None:
        limit_buffers(RECORD)
        self.protocol = protocol
        self.limits = limits
        self._tls = tls
        self.released = Released()
        self._unknown: dict[Visit, None] = {}  # in the order of their arrival
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: list[socket.socket] = []

    def open(self, bound: socket.socket) -> None:
        """Begin to accept connections at a bound socket, which ``close`` closes."""
        bound.setblocking(False)
        bound.listen(_BACKLOG)
        self._sockets.append(bound)
        self._start(self._accept(bound))

    async def close(self) -> None:
        """Accept no more connections; those that are open stay."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for bound in self._sockets:
            bound.close()

    def forget(self, visit: Visit) -> None:
        """Count a client no more as unknown."""
        self._unknown.pop(visit, None)

    async def _accept(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(bound)
            except OSError as err:  # no descriptor is left, or the client has left
                logger.warning("accept a connection: %s", err)
                self._close_oldest()
                await asyncio.sleep(_NO_DESCRIPTOR_PAUSE)
                continue
            while len(self._unknown) >= self.limits.unknown:
                self._close_oldest()
            visit = Visit(self, accepted)
            self._unknown[visit] = None
            self._start(self._connect(visit, accepted))

    def _close_oldest(self) -> None:
        oldest = next(iter(self._unknown), None)
        if oldest is not None:
            oldest.end()

    async def _connect(self, visit: Visit, accepted: socket.socket) -> None:
        handshake = self.limits.handshake if self._tls else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: visit, accepted, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except (OSError, TimeoutError) as err:  # ssl.SSLError is an OSError
            logger.debug("a client did not finish its TLS handshake: %s", err)
            self.forget(visit)
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
