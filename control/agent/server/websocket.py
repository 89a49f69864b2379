"""A session's client over a WebSocket: a message names a channel, and carries data.

The name is a byte with the channel's number. In the subprotocols for clients that have only text,
it is the number as a digit, and the data is in base64 (k8s.io/apiserver/pkg/util/wsstream).
"""

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType, web

from control.agent.server.channels import (
    V1,
    V1_BASE64,
    V4,
    V4_BASE64,
    V5,
    Channel,
    Piece,
    Status,
    Wanted,
    encode_status,
)
from control.agent.server.errors import HttpError
from control.agent.server.pieces import Pieces
from control.upgrade import offered

logger = logging.getLogger(__name__)

_TEXT = (V4_BASE64, V1_BASE64)
PROTOCOLS = (V5, V4, V1, *_TEXT)
_MOST_BYTES = 32 * 1024 * 1024  # of one message from a client, as upstream takes
_HEAD_START_SECONDS = 0.05
_CLOSE_SECONDS = 2.0


async def accept(
    request: web.Request, protocols: Sequence[str], unchannelled: str = ""
) -> web.WebSocketResponse:
    """Accept a WebSocket; a client may name no protocol. Raises HttpError.

    It gives out long messages in pieces; each names its channel, but in the ``unchannelled``
    protocol.
    """
    known = offered(request.headers.getall("Sec-WebSocket-Protocol", ()))
    if known and not set(known) & set(protocols):
        raise HttpError(
            400, f"none of the protocols {known} is supported: want one of {list(protocols)}"
        )
    socket = web.WebSocketResponse(
        protocols=protocols, max_msg_size=_MOST_BYTES, compress=False, timeout=_CLOSE_SECONDS
    )
    await socket.prepare(request)
    head = 0 if unchannelled and socket.ws_protocol == unchannelled else 1
    # aiohttp has no public way to a connection's parser once it is set.
    parser = request.protocol._payload_parser
    request.protocol._payload_parser = Pieces(parser, head, _MOST_BYTES)
    return socket


class WebSocketClient:
    """A client whose channels are in the messages of one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    @property
    def response(self) -> web.WebSocketResponse:
        """The answer that the request's handler must return."""
        return self._socket

    async def open(self, wanted: Wanted, _seconds: float) -> bool:
        """Tell the client that the session begins: all channels are there."""
        # kubectl, up to 1.32 at least, makes its streams right after the handshake, and drops
        # messages that arrive earlier.
        await asyncio.sleep(_HEAD_START_SECONDS)
        await self.send(wanted.first, b"")
        return True

    async def send(self, channel: Channel, data: bytes) -> None:
        """Send output; wait for a slow client. Raises ClientConnectionResetError."""
        if self._socket.ws_protocol in _TEXT:
            await self._socket.send_str(f"{channel:d}{b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield what the client sends, until it has disconnected."""
        expected, decode = (
            (WSMsgType.TEXT, _of_text)
            if self._socket.ws_protocol in _TEXT
            else (WSMsgType.BINARY, _of_bytes)
        )
        try:
            async for message in self._socket:
                if message.type is expected and message.data and (piece := decode(message)):
                    yield piece
        except ValueError as err:
            logger.warning("a client's messages have ended: %s", err)

    async def end(self, status: Status) -> None:
        """Send the final Status, unless the client is gone, and close."""
        last = encode_status(self._socket.ws_protocol or V1, status)
        with suppress(ClientConnectionResetError):
            await self.send(Channel.ERROR, last)
        await self._socket.close()


def _of_bytes(message: WSMessage) -> Piece | None:
    return _piece(message.data[0], message.data[1:])


def _of_text(message: WSMessage) -> Piece | None:
    """Raises ValueError for data that is not base64."""
    return _piece(ord(message.data[0]) - ord("0"), b64decode(message.data[1:], validate=True))


def _piece(channel: int, data: bytes) -> Piece | None:
    if channel == Channel.CLOSE and data == bytes([Channel.STDIN]):
        return Piece(Channel.STDIN, None)
    return Piece(Channel(channel), data) if channel in (Channel.STDIN, Channel.RESIZE) else None
