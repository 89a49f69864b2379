"""Clients without credentials cannot lock out those with; slow ones are sent away."""

import asyncio
import gc
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.server.access.door import DoorLimits, Visit
from control.tls import RECORD
from tests.support.control.cluster import until
from tests.support.control.requests import CORE
from tests.support.control.secured import Secured, secured_server

MAPS = f"{CORE}/configmaps"
GET_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[[DoorLimits], AbstractAsyncContextManager[Secured]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return lambda limits: secured_server(tmp_path, limits)


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def connect(server: Secured, stack: AsyncExitStack, *, tls: str | None = None) -> Stream:
    """Connect with plain TCP, or with the certificate of ``tls`` (empty: none)."""
    context = None if tls is None else server.client_tls(tls)
    made = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    stack.callback(made[1].transport.abort)
    return made


async def is_closed(stream: Stream) -> bool:
    """Wait until the server closes a connection; the test's time limit ends it."""
    try:
        return await stream[0].read(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


async def answer(stream: Stream, request: bytes) -> bytes:
    stream[1].write(request)
    return (await stream[0].readline()).split()[1]


async def ask_as_admin(server: Secured) -> int:
    connector = aiohttp.TCPConnector(ssl=server.client_tls("admin"))
    async with (
        aiohttp.ClientSession(server.url, connector=connector) as session,
        session.get(MAPS) as reply,
    ):
        return reply.status


async def test_many_unknown_clients_do_not_lock_out_an_administrator(
    start: Start, closing: AsyncExitStack
):
    async with start(DoorLimits(unknown=8)) as server:
        before_tls = [await connect(server, closing) for _ in range(20)]
        assert await ask_as_admin(server) == 200
        for stream in before_tls[:12]:  # the oldest ones gave way
            assert await is_closed(stream)
        after_tls = [await connect(server, closing, tls="") for _ in range(20)]
        assert await ask_as_admin(server) == 200
        for stream in [*before_tls[12:], *after_tls[:12]]:
            assert await is_closed(stream)


async def test_known_clients_are_not_counted(start: Start, closing: AsyncExitStack):
    request = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with start(DoorLimits(unknown=2)) as server:
        admins = [await connect(server, closing, tls="admin") for _ in range(6)]
        for _ in range(6):
            await connect(server, closing)
        assert [await answer(stream, request) for stream in admins] == [b"200"] * 6


class Clock:
    """A clock that the test moves: it has the deadlines that run."""

    def __init__(self) -> None:
        self._deadlines: list[tuple[float, asyncio.Handle]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.Handle:
        handle = asyncio.Handle(call, (), asyncio.get_running_loop())
        self._deadlines.append((seconds, handle))
        return handle

    @property
    def running(self) -> list[float]:
        return [seconds for seconds, handle in self._deadlines if not handle.cancelled()]

    def end_all(self) -> None:
        """Let all deadlines pass."""
        for _, handle in self._deadlines:
            if not handle.cancelled():
                handle._run()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
@pytest.mark.parametrize("tls", ["", "admin"])
async def test_a_header_has_a_deadline(
    start: Start, closing: AsyncExitStack, clock: Clock, sent: bytes, tls: str
):
    async with start(DoorLimits(later=clock.later)) as server:
        stream = await connect(server, closing, tls=tls)
        stream[1].write(sent)
        await until(lambda: clock.running == [32.0])
        clock.end_all()
        assert await is_closed(stream)
        assert await ask_as_admin(server) == 200


BODY = b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize("first", [[GET_HEALTH], [BODY, b"1234"], [BODY + b"12", b"34"]])
async def test_a_further_header_has_a_deadline(
    start: Start, closing: AsyncExitStack, clock: Clock, first: list[bytes]
):
    """Without one the connection would close when it has been idle for 90 s."""
    async with start(DoorLimits(later=clock.later)) as server:
        stream = await connect(server, closing, tls="admin")
        for piece in first:
            stream[1].write(piece)
            await stream[1].drain()
        reply = await stream[0].readuntil(b"\r\n\r\n")
        size = next(line for line in reply.split(b"\r\n") if line.startswith(b"Content-Length"))
        await stream[0].readexactly(int(size.split()[1]))
        stream[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")

        def is_timed() -> bool:
            stream[1].write(b"x")  # what came with the last request is not seen to be a header
            return clock.running == [32.0]

        await until(is_timed)
        clock.end_all()
        assert await is_closed(stream)


async def test_requests_ahead_of_their_answers_have_no_deadline(
    start: Start, closing: AsyncExitStack, clock: Clock
):
    async with start(DoorLimits(later=clock.later)) as server:
        stream = await connect(server, closing, tls="admin")
        stream[1].write(GET_HEALTH)
        await stream[0].readuntil(b"ok")
        stream[1].write(GET_HEALTH * 20 + BODY)
        for _ in range(20):
            await stream[0].readuntil(b"ok")
        await until(lambda: not clock.running)
        stream[1].write(b"1234" + GET_HEALTH)
        assert await stream[0].readuntil(b"ok")


async def test_a_client_that_has_asked_may_be_idle(
    start: Start, closing: AsyncExitStack, clock: Clock
):
    async with start(DoorLimits(later=clock.later)) as server:
        stream = await connect(server, closing, tls="")
        assert await answer(stream, GET_HEALTH) == b"200"
        await stream[0].readuntil(b"ok")
        assert not clock.running
        assert await answer(stream, GET_HEALTH) == b"200"


async def test_a_handshake_has_a_deadline(start: Start, closing: AsyncExitStack):
    async with start(DoorLimits(handshake=0.1)) as server:
        assert await is_closed(await connect(server, closing))


async def test_half_a_body_has_a_deadline(
    start: Start, closing: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("control.server.http.handler._SECONDS", 0.1)
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with start(DoorLimits()) as server:
        for path in (MAPS, reviews):
            stream = await connect(server, closing, tls="admin")
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"
            assert await answer(stream, head.encode()) == b"504"


async def test_a_connection_has_a_small_buffer(start: Start, closing: AsyncExitStack):
    others = {id(it): it for it in live(SSLProtocol)}  # of other tests; kept, so that ids differ
    async with start(DoorLimits()) as server:
        await connect(server, closing, tls="admin")
        assert await ask_as_admin(server) == 200  # so that the first one has been accepted
        tls = [it for it in live(SSLProtocol) if id(it) not in others]
        assert live(Visit) and {len(it._ssl_buffer) for it in tls} == {RECORD}


def live(kind: type) -> list[Any]:
    return [it for it in gc.get_objects() if isinstance(it, kind)]
