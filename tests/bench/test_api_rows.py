"""bench api: what its clients make of a server's answers, and what it calls missed."""

import os
import socket
import time

import pytest

from bench.api import load
from bench.api.clients import Reach, asking
from bench.api.rows import CREATE, LIST, PAIRS, ROWS, START, WATCH, Figures, Rounds, report, verdict
from bench.api.servers import _listener

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def link():
    """A connection's two ends: what a client reads, and who writes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield load.Link(Plain(ours)), theirs


class Plain:
    """A socket with what TLS adds."""

    def __init__(self, sock: socket.socket) -> None:
        self.recv, self.sendall, self.fileno = sock.recv, sock.sendall, sock.fileno

    def pending(self) -> int:
        return 0


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 2\r\n\r\n", b"{", b"}"],
        [OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", b"de\r\n0\r\n", b"\r\n"],
        [OK + b"content-length: 0\r\n\r\n"],
    ],
)
def test_an_answer_is_whole_with_its_last_byte(link, pieces) -> None:
    client, server = link
    for number, piece in enumerate(pieces, 1):
        server.sendall(piece)
        assert client.read() is (number == len(pieces))
    assert client.take() == b"".join(pieces) and not client.received


def test_a_refusal_ends_the_client(link) -> None:
    client, server = link
    server.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno")
    assert client.read()
    with pytest.raises(load.RefusedError, match="409 Conflict"):
        client.take()


def test_events_tell_their_age_once_each(link) -> None:
    client, server = link
    event = b'{"type":"MODIFIED","object":{"data":{"number":"1","sent":"%.6f"}}}\n'
    text = event % (time.time() - 1) + event % (time.time() - 2)
    server.sendall(text[:90])
    first = load._late(client)
    server.sendall(text[90:])
    assert [round(each) for each in first + load._late(client)] == [1, 2]


def test_the_server_of_a_port_is_found_beside_its_store() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        assert _listener(os.getpid(), bound.getsockname()[1]) == os.getpid()


def rounds_of(**figures: Figures) -> Rounds:
    names = {"ours": "podwire, sqlite", "peer": "peer"}
    made = Rounds({names[key]: lambda _: None for key in figures})  # type: ignore[dict-item, return-value]
    for key, each in figures.items():
        made.found[names[key]] = [{row.name: each.get(row.name, 1.0) for row in ROWS}] * 3
    return made


def test_a_missed_ratio_and_a_missed_limit_are_told(capsys) -> None:
    good = {START.name: 0.3, WATCH.name: 100.0, PAIRS.name: 900.0, LIST.name: 10.0}
    theirs = {PAIRS.name: 100.0, LIST.name: 100.0, "memory with 10,000 Pods": 10.0}
    assert verdict(rounds_of(ours=good, peer=theirs)) == 0
    assert verdict(rounds_of(ours=good | {PAIRS.name: 700.0}, peer=theirs)) == 1
    assert verdict(rounds_of(ours=good | {WATCH.name: 151.0})) == 1
    assert capsys.readouterr().out.count("MISSED") == 2


def test_the_table_has_a_column_of_ratios_for_a_peer() -> None:
    text = report(rounds_of(ours={CREATE.name: 400.0}, peer={CREATE.name: 100.0}))
    assert "podwire, sqlite by peer" in text.splitlines()[0]
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {CREATE.name} ")]
    assert row == "| Pods created | 400 a second | 100 a second | 4.00 (4.00 to 4.00) |"
    assert "by peer" not in report(rounds_of(ours={}))


def test_a_client_without_a_server_ends_the_benchmark() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(SystemExit, match="a client has ended"):
        asking(Reach("127.0.0.1", port), [("GET", "/", "")], 1, 1)
