"""The balancer before several API servers: real sockets, and servers that say what they are."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress

import pytest

from control.balancer import backend as backend_module
from control.balancer.backend import Backend
from control.balancer.relay import Relay
from control.balancer.streams import reset
from control.pki import Identity, create_authority, issue


class Server:
    """An API server as the balancer sees it: /readyz, and one word for everything else."""

    def __init__(self, address: str, folder):
        self.address, self.status, self._folder = address, 200, folder
        self._server, self._writers = None, set()

    async def start(self, port: int) -> int:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")
        self._server = await asyncio.start_server(self._answer, self.address, port, ssl=tls)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            reset(writer)
        await asyncio.sleep(0)

    async def _answer(self, reader, writer):
        self._writers.add(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                body = self.address.encode()
                head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@pytest.fixture
def folder(tmp_path):
    authority = create_authority("balancer")
    authority.save(tmp_path, "ca")
    hosts = ("127.0.0.1", "127.0.0.2")
    issue(authority, Identity("server", hosts=hosts)).save(tmp_path, "server")
    return tmp_path


@pytest.fixture
async def balanced(folder, monkeypatch):
    """Two servers behind a relay: (servers, backends, how to ask a new connection)."""
    monkeypatch.setattr(backend_module, "_EVERY", 0.02)
    servers = [Server(address, folder) for address in ("127.0.0.1", "127.0.0.2")]
    port = await servers[0].start(0)
    await servers[1].start(port)
    relay, front = Relay(), socket.create_server(("127.0.0.3", 0))
    relay.backends = [Backend(s.address, s.address, relay.changed, port) for s in servers]
    tls = ssl.create_default_context(cafile=folder / "ca.crt")
    front.setblocking(False)
    tasks = [asyncio.create_task(b.follow(tls)) for b in relay.backends]
    tasks.append(asyncio.create_task(relay.serve(front)))

    @asynccontextmanager
    async def talk():
        there = await asyncio.open_connection(
            *front.getsockname(), ssl=tls, server_hostname="127.0.0.1"
        )
        yield there
        there[1].close()

    yield servers, relay.backends, talk, port
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    front.close()
    for server in servers:
        await server.stop()


async def said(there) -> str:
    reader, writer = there
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return (await reader.readexactly(9)).decode()


async def until(check):
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_connections_are_shared_and_go_on_when_a_server_dies(balanced):
    servers, backends, talk, port = balanced
    await until(lambda: all(b.is_ready for b in backends))
    async with talk() as one, talk() as two:
        assert {await said(one), await said(two)} == {"127.0.0.1", "127.0.0.2"}
        dead = await said(two)
        (server,) = (s for s in servers if s.address == dead)
        await server.stop()
        with suppress(ConnectionResetError):  # so that its client comes again
            assert await two[0].read() == b""
        assert await said(one) != dead
        async with talk() as three:
            assert await said(three) != dead
        await server.start(port)
        await until(lambda: all(b.is_ready for b in backends))
        async with talk() as four:
            assert await said(four) == dead  # it has fewer connections


async def test_a_server_that_is_not_ready_gets_nobody_new_and_keeps_who_is_there(balanced):
    servers, backends, talk, _ = balanced
    await until(lambda: all(b.is_ready for b in backends))
    async with talk() as one:
        place = [s.address for s in servers].index(await said(one))
        servers[place].status = 500
        await until(lambda: not backends[place].is_ready)
        assert await said(one) == servers[place].address
        async with talk() as two, talk() as three:
            assert servers[place].address not in {await said(two), await said(three)}


async def test_who_comes_while_no_server_is_ready_waits(balanced):
    servers, backends, talk, _ = balanced
    for server in servers:
        server.status = 500
    await until(lambda: not any(b.is_ready for b in backends))

    async def ask():
        async with talk() as there:
            return await said(there)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.1)
    assert not asking.done()
    servers[1].status = 200
    async with asyncio.timeout(30):
        assert await asking == servers[1].address
