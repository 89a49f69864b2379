"""Connections to ports of a Pod: through its namespace, in all protocols."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
import pytest

from control.agent.config import StreamLimits
from control.agent.server import forward
from control.agent.server.dial import DialError, dial
from control.agent.server.errors import HttpError
from control.agent.server.forward import CHANNELS, PLAIN, TUNNEL, parse_ports
from control.spdy import Data, Decoder, Encoder, Event, Opened, Ping, Reset
from control.upgrade import Upgraded
from tests.support.control.agent_server import Agent, agent_with
from tests.support.control.talks import upgrading

PATH = "/portForward/default/web"
# SPDY as it is, and inside WebSocket messages: one meaning.
every = pytest.mark.parametrize("protocol", [PLAIN, TUNNEL])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo all data, and send ``bye`` at its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def connected(
    agent: Agent, protocol: str, **query: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{agent.url}{PATH}"
    offered = (protocol,) if protocol else ()
    async with agent.http.ws_connect(url, protocols=offered, params=query) as socket:
        assert (socket.protocol or "") == protocol
        yield socket


class Wire(Protocol):
    """What carries SPDY's bytes."""

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> bytes: ...


class InMessages:
    """SPDY's bytes inside WebSocket messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def read(self) -> bytes:
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else b""


class Client:
    """The client's side of SPDY."""

    def __init__(self, wire: Wire | Upgraded) -> None:
        self.wire, self.encoder, self.decoder = wire, Encoder(), Decoder()
        self.events: list[Event] = []

    async def open(self, request: int, port: int | str, *, numbered: bool = True) -> None:
        """Open a connection as kubectl does: the error stream first, without data."""
        for stream, kind in ((2 * request + 1, "error"), (2 * request + 3, "data")):
            headers = {"streamType": kind, "port": str(port)}
            if numbered:
                headers["requestID"] = str(request)
            await self.wire.write(self.encoder.opened(stream, headers))
            if kind == "error":
                await self.say(stream, b"", final=True)

    async def say(self, stream: int, data: bytes, final: bool = False) -> None:
        frame = self.encoder.data(stream, data, final)
        for start in range(0, len(frame), 5):  # a message is a piece of the stream, not a frame
            await self.wire.write(frame[start : start + 5])

    async def until_end(self, stream: int) -> bytes:
        """Return all data of a stream, after its end."""
        while True:
            mine = [it for it in self.events if isinstance(it, Data) and it.stream == stream]
            if any(it.final for it in mine):
                return b"".join(it.data for it in mine)
            assert await self.read()

    async def read(self) -> bool:
        """Note the next events; return False at the connection's end."""
        data = await self.wire.read()
        self.events += self.decoder.feed(data)
        return bool(data)

    async def answered(self) -> list[int]:
        """Return the streams that were reset, after an answer to all that was sent."""
        await self.wire.write(self.encoder.pong(1))
        while Ping(1) not in self.events:
            assert await self.read()
        return [it.stream for it in self.events if isinstance(it, Reset)]


@asynccontextmanager
async def connect(agent: Agent, protocol: str) -> AsyncIterator[Client]:
    """Connect a client that speaks SPDY."""
    if protocol == PLAIN:
        async with upgrading(agent, PATH, protocol) as wire:
            yield Client(wire)
        return
    async with connected(agent, protocol) as socket:
        yield Client(InMessages(socket))


@every
async def test_connections_through_spdy(agent, port, protocol):
    async with connect(agent, protocol) as client:
        for request in (0, 10):
            await client.open(request, port)
        await client.say(3, b"one", final=True)
        await client.say(23, b"two", final=True)
        assert await client.until_end(3) == b"onebye"
        assert await client.until_end(23) == b"twobye"
        assert await client.until_end(1) == b""  # no error


@every
async def test_a_port_without_a_listener(agent, protocol):
    async with connect(agent, protocol) as client:
        await client.open(0, 1)
        assert await client.until_end(3) == b""
        assert b"error forwarding port 1: failed to connect to localhost:1" in (
            await client.until_end(1)
        )


@every
async def test_an_invalid_stream_is_reset(agent, protocol):
    async with connect(agent, protocol) as client:
        await client.open(0, "http")
        assert await client.answered() == [1, 3]


@every
async def test_requests_without_a_number_are_told_apart(agent, port, protocol):
    async with connect(agent, protocol) as client:
        for request, said in ((0, b"one"), (2, b"two")):
            await client.open(request, port, numbered=False)
            await client.say(2 * request + 3, said, final=True)
        assert await client.until_end(3) == b"onebye"
        assert await client.until_end(7) == b"twobye"


@every
async def test_a_second_stream_of_a_type_is_reset(agent, port, protocol):
    async with connect(agent, protocol) as client:
        for stream in (1, 3):
            headers = {"streamtype": "error", "port": str(port), "requestid": "0"}
            await client.wire.write(client.encoder.opened(stream, headers))
        assert await client.answered() == [3]


@every
async def test_connections_over_the_limit_are_reset(agent, port, protocol, monkeypatch):
    monkeypatch.setattr(forward, "MOST_CONNECTIONS", 2)
    async with connect(agent, protocol) as client:
        for request in (0, 2, 4):
            await client.open(request, port)
        assert await client.answered() == [9, 11]
        for stream in (3, 7):  # the others go on, and leave room
            await client.say(stream, b"", final=True)
            assert await client.until_end(stream) == b"bye"
        await client.open(6, port)
        await client.say(15, b"", final=True)
        assert await client.until_end(15) == b"bye"


@every
async def test_data_of_half_a_pair_does_not_hold_the_others_for_ever(tmp_path, port, protocol):
    async with (
        agent_with(tmp_path, StreamLimits(opening=0.3)) as agent,
        connect(agent, protocol) as client,
    ):
        headers = {"streamtype": "data", "port": str(port), "requestid": "half"}
        await client.wire.write(client.encoder.opened(1, headers))
        for _ in range(20):
            await client.wire.write(client.encoder.data(1, bytes(1000)))
        await client.open(2, port)
        await client.say(7, b"", final=True)
        assert await client.until_end(7) == b"bye"


@every
async def test_a_connection_without_a_byte_ends(tmp_path, port, protocol):
    async with (
        agent_with(tmp_path, StreamLimits(idle=0.3)) as agent,
        connect(agent, protocol) as client,
    ):
        await client.open(0, port)
        while await client.read():
            pass
    assert not [it for it in client.events if isinstance(it, Data | Opened)]


async def test_invalid_frames_end_a_plain_session(agent, caplog):
    async with connect(agent, PLAIN) as client:
        await client.wire.write(b"\x80\x02\0\1" + bytes(8))  # SPDY/2
        assert not await client.read()
    assert "a client's port-forward has ended: SPDY version 2" in caplog.text


async def test_invalid_frames_end_the_session(agent):
    async with connected(agent, TUNNEL) as socket:
        await socket.send_bytes(b"\x80\x02\0\1" + bytes(8))  # SPDY/2
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1002)


@pytest.mark.parametrize("protocol", [CHANNELS, ""])
async def test_channels(agent, port, protocol):
    async with connected(agent, protocol, port=f"{port},1") as socket:
        first = [await socket.receive_bytes() for _ in range(4)]
        assert first == [
            struct.pack("<BH", n, it) for n, it in ((0, port), (1, port), (2, 1), (3, 1))
        ]
        assert (await socket.receive_bytes()).startswith(b"\3error forwarding port 1")
        await socket.send_bytes(b"\0hello")
        assert await socket.receive_bytes() == b"\0hello"


async def test_the_pods_own_namespace_is_entered(agent):
    listener = "import socket; s = socket.create_server(('127.0.0.1', 8080)); print(flush=True); "
    listener += "c, _ = s.accept(); c.sendall(b'inside'); c.close()"
    script = f'ip link set lo up; exec python3 -c "{listener}"'
    process = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    await process.stdout.readline()
    agent.runtime.namespace = f"/proc/{process.pid}/ns/net"
    with pytest.raises(DialError, match="connection refused"):
        await dial("", 8080)
    async with connected(agent, CHANNELS, port="8080") as socket:
        found = [await socket.receive_bytes() for _ in range(3)]
    assert found[2] == b"\0inside"
    assert await process.wait() == 0


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "80,", "-1"])
def test_invalid_ports_are_refused(text):
    with pytest.raises(HttpError, match="as a port"):
        parse_ports([text])


def test_ports():
    assert parse_ports(["80", "443,8080"]) == (80, 443, 8080)
    assert parse_ports([]) == ()
