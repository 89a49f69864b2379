"""Answer over a WebSocket what is otherwise a stream of bytes: the events of a watch, a log.

The client sends nothing; what it sends is dropped. Sources: HandleWS in
k8s.io/apiserver/pkg/endpoints/handlers/watch.go, and wsstream.Reader of k8s.io/apimachinery.
"""

import asyncio
import base64
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from typing import Any

from aiohttp import ClientConnectionResetError, WSMsgType, web

from control.server.wire.errors import StatusError
from control.upgrade import offered

_PROTOCOLS = "Sec-WebSocket-Protocol"
_BASE64 = "base64.binary.k8s.io"
_OF_BYTES = ("binary.k8s.io", _BASE64)
_MOST = 64 * 1024  # bytes of a message that a client sends in vain
_CLOSING = 2.0  # seconds that a client has to say goodbye
_PIECE = 32 * 1024

Events = AsyncIterable[Iterable[Iterable[bytes]]]
Started = Callable[[web.StreamResponse], None]
Send = Callable[[bytes], Awaitable[None]]


async def send_events(
    web_request: web.Request, batches: Events, started: Started
) -> web.StreamResponse:
    """Send each event of a watch as a message of text, whatever subprotocol the client names."""
    socket = await _opened(web_request, _offered(web_request))
    started(socket)

    async def write() -> None:
        async for events in batches:
            for event in events:
                await socket.send_frame(b"".join(event), WSMsgType.TEXT)
                await asyncio.sleep(0)

    return await _until_closed(socket, write())


async def send_bytes(web_request: web.Request, pieces: AsyncIterable[bytes]) -> web.StreamResponse:
    """Send bytes as messages, after an empty one; raises StatusError (403).

    With the subprotocol ``base64.binary.k8s.io`` a message is text.
    """
    wanted = _offered(web_request)
    known = [name for name in wanted if name in _OF_BYTES]
    if wanted and not known:
        why = f"requested protocol(s) are not supported: {wanted}; supports {list(_OF_BYTES)}"
        raise StatusError(403, "Forbidden", why)
    socket = await _opened(web_request, known[:1])

    async def send(data: bytes) -> None:
        if known[:1] == [_BASE64]:
            await socket.send_frame(base64.b64encode(data), WSMsgType.TEXT)
        else:
            await socket.send_frame(data, WSMsgType.BINARY)

    return await _until_closed(socket, _send_pieces(pieces, send))


async def _send_pieces(pieces: AsyncIterable[bytes], send: Send) -> None:
    await send(b"")
    async for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            await send(piece[start : start + _PIECE])


def _offered(web_request: web.Request) -> list[str]:
    return offered(web_request.headers.getall(_PROTOCOLS, ()))


async def _opened(web_request: web.Request, protocols: list[str]) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(
        protocols=protocols, max_msg_size=_MOST, timeout=_CLOSING, compress=False
    )
    await socket.prepare(web_request)
    return socket


async def _until_closed(
    socket: web.WebSocketResponse, work: Coroutine[Any, Any, None]
) -> web.WebSocketResponse:
    """Do work until it is done or the client has left; then close the socket."""
    writing, reading = asyncio.create_task(work), asyncio.create_task(_ignore(socket))
    try:
        await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (writing, reading):
            task.cancel()
        done = await asyncio.gather(writing, reading, return_exceptions=True)
    await socket.close()
    for failed in done:
        if isinstance(failed, Exception) and not isinstance(failed, ClientConnectionResetError):
            raise failed
    return socket


async def _ignore(socket: web.WebSocketResponse) -> None:
    """Drop what the client sends, until it closes the connection."""
    while (await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
