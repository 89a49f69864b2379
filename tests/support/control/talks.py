"""The client's side of exec and attach, over a WebSocket and over SPDY, with one interface."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from multidict import MultiDict

from control.agent.server.channels import (
    V1,
    V1_BASE64,
    V2,
    V3,
    V4,
    V4_BASE64,
    V5,
    Channel,
)
from control.spdy import Data, Decoder, Encoder, Event
from control.upgrade import SPDY, VERSIONS, Upgraded, of_response
from tests.support.control.agent_server import Agent

WEBSOCKET = "websocket"
# (transport, subprotocol): everything that a client may speak.
TRANSPORTS = [
    *((WEBSOCKET, protocol) for protocol in (V5, V4, V1, V4_BASE64, V1_BASE64)),
    *((SPDY, protocol) for protocol in (V4, V3, V2, V1)),
]


class Talk(Protocol):
    """A session."""

    protocol: str

    async def send(self, channel: Channel, data: bytes) -> None: ...

    async def close_input(self) -> None: ...

    async def result(self) -> tuple[dict[int, bytes], bytes]:
        """Return (data by channel, the last message on the error channel)."""


def status(protocol: str, last: bytes) -> dict[str, Any]:
    """Return the essence of a last message, in whatever form the subprotocol has it."""
    if protocol in (V5, V4, V4_BASE64):
        known = json.loads(last)
        return {"status": known["status"], "message": known.get("message", "")}
    return {"status": "Failure" if last else "Success", "message": last.decode()}


@asynccontextmanager
async def talking(
    agent: Agent, transport: tuple[str, str], path: str, query: Mapping[str, str], *words: str
) -> AsyncIterator[Talk]:
    """Open a session at an agent."""
    kind, protocol = transport
    params = MultiDict([*(("command", word) for word in words), *query.items()])
    url = f"{agent.url}{path}"
    if kind == WEBSOCKET:
        async with agent.http.ws_connect(url, protocols=(protocol,), params=params) as socket:
            assert len((await socket.receive()).data) == 1  # the session has begun
            yield WebSocketTalk(socket, protocol)
        return
    async with upgrading(agent, path, protocol, params) as wire:
        talk = SpdyTalk(wire, protocol)
        await talk.open(query)
        yield talk


@asynccontextmanager
async def upgrading(
    agent: Agent, path: str, protocol: str, params: Any = None
) -> AsyncIterator[Upgraded]:
    """Change a connection to SPDY."""
    headers = {"Connection": "Upgrade", "Upgrade": SPDY, VERSIONS: protocol}
    async with agent.http.post(f"{agent.url}{path}", params=params, headers=headers) as answer:
        assert (answer.status, answer.headers[VERSIONS]) == (101, protocol)
        yield of_response(answer)
        answer.close()


@dataclass
class WebSocketTalk:
    """A session whose messages name their channel."""

    socket: aiohttp.ClientWebSocketResponse
    protocol: str

    async def send(self, channel: Channel, data: bytes) -> None:
        if "base64" in self.protocol:
            await self.socket.send_str(f"{channel:d}{b64encode(data).decode()}")
        else:
            await self.socket.send_bytes(bytes([channel]) + data)

    async def close_input(self) -> None:
        assert self.protocol == V5
        await self.socket.send_bytes(bytes([Channel.CLOSE, Channel.STDIN]))

    async def result(self) -> tuple[dict[int, bytes], bytes]:
        channels: dict[int, bytes] = {}
        async for message in self.socket:
            if "base64" in self.protocol:
                channel, data = int(message.data[0]), b64decode(message.data[1:])
            else:
                channel, data = message.data[0], message.data[1:]
            channels[channel] = channels.get(channel, b"") + data
        return channels, channels.pop(Channel.ERROR, b"")


@dataclass
class SpdyTalk:
    """A session whose channels are streams."""

    wire: Upgraded
    protocol: str
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)
    streams: dict[Channel, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    async def open(self, query: Mapping[str, str]) -> None:
        """Open the streams in client-go's order."""
        await self.stream(Channel.ERROR)
        for name, channel in (
            ("input", Channel.STDIN),
            ("output", Channel.STDOUT),
            ("error", Channel.STDERR),
        ):
            if query.get(name) and not (name == "error" and query.get("tty")):
                await self.stream(channel)
        if query.get("tty") and self.protocol in (V4, V3):
            await self.stream(Channel.RESIZE)

    async def stream(self, channel: Channel, kind: str = "") -> int:
        """Open a stream, and return its number."""
        number = 2 * len(self.streams) + 1
        self.streams[channel] = number
        headers = {"streamtype": kind or channel.name.lower()}
        await self.wire.write(self.encoder.opened(number, headers))
        return number

    async def send(self, channel: Channel, data: bytes) -> None:
        await self.wire.write(self.encoder.data(self.streams[channel], data))

    async def close_input(self) -> None:
        await self.wire.write(self.encoder.data(self.streams[Channel.STDIN], b"", final=True))

    async def read(self) -> bool:
        """Note the next events; return False at the connection's end."""
        data = await self.wire.read()
        self.events += self.decoder.feed(data)
        return bool(data)

    async def result(self) -> tuple[dict[int, bytes], bytes]:
        while not self._ended(Channel.ERROR) and await self.read():
            pass
        outputs = [Channel.STDOUT, Channel.STDERR]
        found = {it: self._data(it) for it in outputs if it in self.streams and self._data(it)}
        return found, self._data(Channel.ERROR)

    def _of(self, channel: Channel) -> list[Data]:
        number = self.streams[channel]
        return [it for it in self.events if isinstance(it, Data) and it.stream == number]

    def _ended(self, channel: Channel) -> bool:
        return any(it.final for it in self._of(channel))

    def _data(self, channel: Channel) -> bytes:
        return b"".join(it.data for it in self._of(channel))
