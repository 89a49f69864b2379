"""Connections to ports of a Pod: through its namespace, in both protocols."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from control.agent.server.dial import DialError, dial
from control.agent.server.errors import HttpError
from control.agent.server.forward import CHANNELS, TUNNEL, parse_ports
from control.agent.server.spdy import Data, Decoder, Encoder, Event, Reset
from tests.support.control.agent_server import Agent


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
    url = f"{agent.url}/portForward/default/web"
    async with agent.http.ws_connect(url, protocols=(protocol,), params=query) as socket:
        assert socket.protocol == protocol
        yield socket


class Client:
    """The client's side of a tunnel."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.encoder, self.decoder = socket, Encoder(), Decoder()
        self.events: list[Event] = []

    async def open(self, request: int, port: int | str) -> None:
        """Open a connection as kubectl does: the error stream first, without data."""
        for stream, kind in ((2 * request + 1, "error"), (2 * request + 3, "data")):
            headers = {"streamType": kind, "port": str(port), "requestID": str(request)}
            await self.socket.send_bytes(self.encoder.opened(stream, headers))
            if kind == "error":
                await self.say(stream, b"", final=True)

    async def say(self, stream: int, data: bytes, final: bool = False) -> None:
        frame = self.encoder.data(stream, data, final)
        for start in range(0, len(frame), 5):  # a message is a piece of the stream, not a frame
            await self.socket.send_bytes(frame[start : start + 5])

    async def until_end(self, stream: int) -> bytes:
        """Return all data of a stream, after its end."""
        while True:
            mine = [it for it in self.events if isinstance(it, Data) and it.stream == stream]
            if any(it.final for it in mine):
                return b"".join(it.data for it in mine)
            self.events += self.decoder.feed(await self.socket.receive_bytes())


async def test_connections_through_a_tunnel(agent, port):
    async with connected(agent, TUNNEL) as socket:
        client = Client(socket)
        for request in (0, 10):
            await client.open(request, port)
        await client.say(3, b"one", final=True)
        await client.say(23, b"two", final=True)
        assert await client.until_end(3) == b"onebye"
        assert await client.until_end(23) == b"twobye"
        assert await client.until_end(1) == b""  # no error


async def test_a_port_without_a_listener(agent):
    async with connected(agent, TUNNEL) as socket:
        client = Client(socket)
        await client.open(0, 1)
        assert await client.until_end(3) == b""
        assert b"error forwarding port 1: failed to connect to localhost:1" in (
            await client.until_end(1)
        )


async def test_an_invalid_stream_is_reset(agent):
    async with connected(agent, TUNNEL) as socket:
        client = Client(socket)
        await client.open(0, "http")
        while not client.events:
            client.events += client.decoder.feed(await socket.receive_bytes())
        assert client.events[0] == Reset(1)


async def test_invalid_frames_end_the_session(agent):
    async with connected(agent, TUNNEL) as socket:
        await socket.send_bytes(b"\x80\x02\0\1" + bytes(8))  # SPDY/2
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1002)


async def test_channels(agent, port):
    async with connected(agent, CHANNELS, port=f"{port},1") as socket:
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
