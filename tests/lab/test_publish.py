"""What ``lab publish`` takes, and how its process copies."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from control.api.service import Service
from lab import forward
from lab.goals import Goal, Published
from lab.publish import PublishError, Request, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8080:web:80", Request("127.0.0.1", 8080, Goal("default", "web", "80", "tcp"))),
        ("0:web:http", Request("127.0.0.1", 0, Goal("default", "web", "http", "tcp"))),
        ("53:sys/dns:53/udp", Request("127.0.0.1", 53, Goal("sys", "dns", "53", "udp"))),
        ("127.0.0.2:1:web:80/tcp", Request("127.0.0.2", 1, Goal("default", "web", "80", "tcp"))),
        ("[::1]:8080:a/web:80", Request("::1", 8080, Goal("a", "web", "80", "tcp"))),
    ],
)
def test_a_port_is_read(text: str, wanted: Request) -> None:
    assert parse(text) == wanted
    made = Published(wanted.address, wanted.port, wanted.goal)
    assert Published.from_title(made.title()) == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web", "write it as 8080:web:80"),
        ("8080:web", "write it as 8080:web:80"),
        ("8080::80", "write it as 8080:web:80"),
        ("x:web:80", "write it as 8080:web:80"),
        ("٣:web:80", "write it as 8080:web:80"),
        ("70000:web:80", "port 70000: want 1 to 65535"),
        ("host:80:web:80", "'host' does not appear to be an IPv4 or IPv6 address"),
    ],
)
def test_another_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(PublishError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert text in str(caught.value)


def test_another_process_publishes_nothing() -> None:
    for title in ("podwire proxy", "podwire published x", ""):
        assert Published.from_title(title) is None


def test_a_port_is_found_by_number_or_name_and_protocol() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    service = Service.parse({"metadata": {"name": "s"}, "spec": {"ports": ports}})

    def found(port: str, protocol: str) -> int | None:
        row = forward.port_of(service, Goal("default", "s", port, protocol))
        return row.port if row else None

    assert [found("80", "tcp"), found("http", "tcp"), found("53", "udp")] == [80, 80, 53]
    assert [found("53", "tcp"), found("81", "tcp"), found("", "tcp")] == [None, None, None]


def dialer(to: tuple[str, int], kind: socket.SocketKind) -> Any:
    def dial() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            made.connect(to)
        return made

    return dial


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task, and wait for what it began: the talks of a server go on without it."""
    task.cancel()
    current = asyncio.current_task()
    await asyncio.gather(*(asyncio.all_tasks() - {current}), return_exceptions=True)


def listening(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


async def test_bytes_go_both_ways_and_an_end_is_passed_on() -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = await reader.read()  # until the client has ended its half
        writer.write(whole.upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    outer = listening(socket.SOCK_STREAM)
    dial = dialer(server.sockets[0].getsockname(), socket.SOCK_STREAM)
    task = asyncio.create_task(forward._accept(outer, dial))
    async with server:
        await asyncio.sleep(0)
        outer.listen()
        reader, writer = await asyncio.open_connection(*outer.getsockname())
        text = b"abc" * 300_000  # more than any buffer between
        writer.write(text)
        writer.write_eof()
        assert await reader.read() == text.upper()
        writer.close()
        await writer.wait_closed()
        await ended(task)


async def test_a_client_of_a_service_that_is_away_is_refused() -> None:
    def dial() -> socket.socket:
        raise OSError("no Service default/web with port 80")

    outer = listening(socket.SOCK_STREAM)
    outer.listen()
    task = asyncio.create_task(forward._accept(outer, dial))
    reader, writer = await asyncio.open_connection(*outer.getsockname())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    await ended(task)


async def test_datagrams_come_back_to_their_own_client() -> None:
    loop = asyncio.get_running_loop()
    echo, outer = listening(socket.SOCK_DGRAM), listening(socket.SOCK_DGRAM)

    def answer() -> None:
        data, client = echo.recvfrom(100)
        echo.sendto(data.upper(), client)

    loop.add_reader(echo, answer)
    dial = dialer(echo.getsockname(), socket.SOCK_DGRAM)
    task = asyncio.create_task(forward._Datagrams(outer, dial).run())
    one, other = listening(socket.SOCK_DGRAM), listening(socket.SOCK_DGRAM)
    await asyncio.sleep(0)
    for client, text in ((one, b"a"), (other, b"b"), (one, b"c")):
        await loop.sock_sendto(client, text, outer.getsockname())
        assert await loop.sock_recv(client, 100) == text.upper()
    await ended(task)
    loop.remove_reader(echo)
    for each in (echo, outer, one, other):
        each.close()
