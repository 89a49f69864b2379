"""A session's client over SPDY/3.1: each channel is a stream that the client opens.

Source: kubelet's pkg/cri/streaming/remotecommand/httpstream.go and client-go's
tools/remotecommand. A stream's header ``streamtype`` names its channel.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from aiohttp import ClientConnectionResetError, web

from control.agent.server.channels import (
    V1,
    V2,
    V3,
    V4,
    Channel,
    Piece,
    Status,
    Wanted,
    encode_status,
    parse_size,
)
from control.agent.server.errors import HttpError
from control.spdy import Data, Decoder, Encoder, Event, Opened, Ping, Reset, SpdyError
from control.upgrade import SPDY, VERSIONS, Accepted, offered
from control.upgrade import accept as change

logger = logging.getLogger(__name__)

PROTOCOLS = (V4, V3, V2, V1)
_TYPES = {
    "stdin": Channel.STDIN,
    "stdout": Channel.STDOUT,
    "stderr": Channel.STDERR,
    "error": Channel.ERROR,
    "resize": Channel.RESIZE,
}
_MOST_EARLY = 1024 * 1024  # bytes of input that come before all streams are open
_MOST_SIZE = 1024  # bytes of one terminal size
_CLOSE_SECONDS = 2.0


async def accept(request: web.Request, protocols: Sequence[str]) -> tuple[Accepted, str]:
    """Change a connection to SPDY; return it with the subprotocol. Raises HttpError."""
    known = offered(request.headers.getall(VERSIONS, ()))
    if not known:
        raise HttpError(
            400, f"unable to upgrade: no header {VERSIONS}: want one of {list(protocols)}"
        )
    chosen = next((name for name in known if name in protocols), None)
    if chosen is None:
        raise HttpError(
            403,
            "unable to upgrade: unable to negotiate protocol: "
            f"client supports {known}, server accepts {list(protocols)}",
            headers=[("X-Accepted-Stream-Protocol-Versions", name) for name in protocols],
        )
    return await change(request, SPDY, {VERSIONS: chosen}), chosen


class SpdyClient:
    """A client whose channels are SPDY streams of one connection."""

    def __init__(self, wire: Accepted, protocol: str) -> None:
        self._wire, self._protocol = wire, protocol
        self._decoder, self._encoder = Decoder(), Encoder()
        self._channels: dict[int, Channel] = {}  # by stream
        self._streams: dict[Channel, int] = {}  # those that take output
        self._opened: set[Channel] = set()
        self._early: list[Piece] = []
        self._size = b""

    @property
    def response(self) -> web.StreamResponse:
        """The answer that the request's handler must return."""
        return self._wire.response

    async def open(self, wanted: Wanted, seconds: float) -> bool:
        """Accept the streams that the client opens; False if some do not come in time."""
        expected = wanted.channels
        if self._protocol in (V2, V1):
            expected -= {Channel.RESIZE}
        try:
            async with asyncio.timeout(seconds):
                while not expected <= self._opened:
                    if not await self._read_early():
                        return False
        except (SpdyError, TimeoutError) as err:
            missing = ", ".join(sorted(it.name.lower() for it in expected - self._opened))
            logger.warning(
                "a client's streams (%s) were not opened: %s", missing, str(err) or "timeout"
            )
            return False
        return True

    async def _read_early(self) -> bool:
        data = await self._wire.read()
        self._early += [piece async for piece in self._decode(data)]
        if sum(len(piece.data or b"") + 1 for piece in self._early) > _MOST_EARLY:
            raise SpdyError(f"more than {_MOST_EARLY} bytes of input before all streams are open")
        return bool(data)

    async def send(self, channel: Channel, data: bytes) -> None:
        """Send output; wait for a slow client. Raises ClientConnectionResetError."""
        if (stream := self._streams.get(channel)) is not None:
            await self._wire.write(self._encoder.data(stream, data))

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield what the client sends, until it has disconnected."""
        for piece in self._early:
            yield piece
        self._early.clear()
        try:
            async for data in self._wire.pieces():
                async for piece in self._decode(data):
                    yield piece
        except SpdyError as err:
            logger.warning("a client's streams have ended: %s", err)

    async def end(self, status: Status) -> None:
        """End all streams, the one for errors with the final Status; the client disconnects."""
        last = encode_status(self._protocol, status)
        # A client reads its outputs to their ends first; the Status ends the session.
        streams = sorted(self._streams.items(), key=lambda item: item[0] is Channel.ERROR)
        with suppress(ClientConnectionResetError, SpdyError, TimeoutError):
            for channel, stream in streams:
                data = last if channel is Channel.ERROR else b""
                await self._wire.write(self._encoder.data(stream, data, final=True))
            async with asyncio.timeout(_CLOSE_SECONDS):
                async for _ in self._wire.pieces():
                    pass

    async def _decode(self, data: bytes) -> AsyncIterator[Piece]:
        for event in self._decoder.feed(data):
            for piece in await self._take(event):
                yield piece

    async def _take(self, event: Event) -> Sequence[Piece]:
        match event:
            case Opened():
                return await self._open(event)
            case Data():
                return self._data(event)
            case Reset():
                return self._reset(event.stream)
            case Ping():
                await self._wire.write(self._encoder.pong(event.number))
        return ()

    async def _open(self, event: Opened) -> Sequence[Piece]:
        channel = _TYPES.get(event.headers.get("streamtype", ""))
        if channel is None or channel in self._opened:
            await self._wire.write(self._encoder.reset(event.stream))
            return ()
        self._channels[event.stream] = channel
        self._streams[channel] = event.stream
        self._opened.add(channel)
        await self._wire.write(self._encoder.accepted(event.stream))
        return self._closed(channel) if event.final else ()

    def _data(self, event: Data) -> Sequence[Piece]:
        channel = self._channels.get(event.stream)
        if channel is Channel.RESIZE:
            return self._resized(event.data)
        if channel is not Channel.STDIN:
            return ()
        pieces = (Piece(channel, event.data),) if event.data else ()
        return (*pieces, *self._closed(channel)) if event.final else pieces

    def _resized(self, data: bytes) -> Sequence[Piece]:
        """Return the sizes in a stream of JSON values, one a line."""
        *lines, self._size = (self._size + data).split(b"\n")
        if parse_size(self._size):  # without a line's end, too
            lines.append(self._size)
            self._size = b""
        self._size = self._size[:_MOST_SIZE]
        return [Piece(Channel.RESIZE, line) for line in lines]

    def _reset(self, stream: int) -> Sequence[Piece]:
        """Forget a stream that the client gave up: its output is dropped, its input has ended."""
        channel = self._channels.pop(stream, None)
        if channel is None:
            return ()
        self._streams.pop(channel, None)
        return self._closed(channel)

    def _closed(self, channel: Channel) -> Sequence[Piece]:
        return (Piece(channel, None),) if channel is Channel.STDIN else ()
