"""Asks one resolver one question: by UDP, and again by TCP if the reply is cut.

Each question has a socket of its own, so that the kernel picks a random port for it, and an ID
from the system's random numbers: who does not see the packets has to guess both (RFC 5452).
The socket is connected: the kernel drops what comes from elsewhere.
"""

import asyncio
import secrets

from control.dns.upstream.reply import Question, Reply, is_cut, read_reply
from control.dns.upstream.routes import Server

READ_SECONDS = 2.0  # for one question to one resolver, as in CoreDNS
_INLINE_BYTES = 4096  # a longer reply is read in a thread: thousands of records take long


class NoReplyError(OSError):
    """A resolver did not reply, or replied nonsense; the text names it and the cause."""


class _Waiter(asyncio.DatagramProtocol):
    """Waits for the reply to one question; other packets are dropped."""

    def __init__(self, question: Question, number: int, reply: asyncio.Future[bytes]) -> None:
        self._question, self._number, self._reply = question, number, reply

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self._reply.done() and self._question.accepts(self._number, data):
            self._reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc)


async def ask(server: Server, question: Question, most_seconds: int) -> Reply:
    """Return a resolver's reply; raises NoReplyError."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            packet = await _by_udp(server, question)
            if is_cut(packet):
                packet = await _by_tcp(server, question)
    except TimeoutError as err:
        raise NoReplyError(f"{server} did not reply within {READ_SECONDS:g} seconds") from err
    except (OSError, EOFError) as err:
        raise NoReplyError(f"{server}: {err}") from err
    if len(packet) > _INLINE_BYTES:
        reply = await asyncio.to_thread(read_reply, question, packet, most_seconds)
    else:
        reply = read_reply(question, packet, most_seconds)
    if reply is None:
        raise NoReplyError(f"{server} sent a reply that cannot be read")
    return reply


async def _by_udp(server: Server, question: Question) -> bytes:
    loop, number = asyncio.get_running_loop(), secrets.randbelow(1 << 16)
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Waiter(question, number, reply), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(question.wire(number))
        return await reply
    finally:
        transport.close()


async def _by_tcp(server: Server, question: Question) -> bytes:
    number = secrets.randbelow(1 << 16)
    packet = question.wire(number)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(packet).to_bytes(2) + packet)
        reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()
    if not question.accepts(number, reply):
        raise OSError("the reply by TCP is to another question")
    return reply
