"""One client process: many connections, one request at a time on each, as fast as answers come.

It reads a job as JSON from standard input, does it, and writes what it saw as JSON. It has no event
loop and no HTTP library, so that a request costs it some 40 us: far less than any server.

    {"host", "port", "ca", "certificate", "key", "token", "connections",
     "work": "ask", "requests": [[method, path, body], ...]}
    {..., "work": "watch", "path": PATH, "events": NUMBER}
"""

import json
import re
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_PIECE = 1 << 16
_SENT = re.compile(rb'"sent":"([0-9.]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_PATIENCE = 120.0


class RefusedError(Exception):
    """The server has refused a request; the text has its answer."""


@dataclass(slots=True)
class Link:
    """A connection, and what it has received of its answer."""

    sock: ssl.SSLSocket
    began: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def read(self) -> bool:
        """Take what has come; return True if the answer is whole. Raises RefusedError."""
        while True:
            piece = self.sock.recv(_PIECE)
            if not piece:
                raise RefusedError("the server has closed a connection")
            self.received += piece
            if not self.sock.pending():
                return self._is_whole()

    def _is_whole(self) -> bool:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.received[: end + 2])
        if length := _LENGTH.search(head):
            return len(self.received) >= end + 4 + int(length[1])
        return not _CHUNKED.search(head) or self.received.endswith(b"\r\n0\r\n\r\n")

    def take(self) -> bytes:
        """Return the whole answer; raises RefusedError if it is a refusal."""
        answer = bytes(self.received)
        self.received.clear()
        if not b"200" <= answer[9:12] < b"300":
            raise RefusedError(answer[:2000].decode(errors="replace"))
        return answer


def connect(job: dict[str, Any]) -> Link:
    """Open a connection with the job's credentials."""
    tls = ssl.create_default_context(cadata=job["ca"] or None)
    if not job["ca"]:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if job["certificate"]:
        tls.load_cert_chain(job["certificate"], job["key"])
    plain = socket.create_connection((job["host"], job["port"]), _PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Link(tls.wrap_socket(plain, server_hostname=job["host"]))


def encoded(job: dict[str, Any], method: str, path: str, body: str) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {job['host']}", "User-Agent: bench"]
    lines.append("Accept: application/json")
    if job["token"]:
        lines.append(f"Authorization: Bearer {job['token']}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def ask(job: dict[str, Any]) -> dict[str, Any]:
    """Send all requests over the connections; return the seconds of each, in order of answers."""
    waiting = iter([encoded(job, *each) for each in job["requests"]])
    links = [connect(job) for _ in range(job["connections"])]
    by_number = {link.sock.fileno(): link for link in links}
    poll = select.epoll()
    begin()
    busy = sum(_next(link, waiting, poll) for link in links)
    taken: list[float] = []
    size = 0
    while busy:
        for number, _ in poll.poll(_PATIENCE):
            link = by_number[number]
            if link.read():
                taken.append(time.perf_counter() - link.began)
                size = max(size, len(link.take()))
                busy -= not _next(link, waiting, poll)
    return {"taken": taken, "size": size}


def begin() -> None:
    """Say that all connections are open, and wait until the others are as far."""
    print("ready", flush=True)
    sys.stdin.readline()


def _next(link: Link, waiting: Iterator[bytes], poll: select.epoll) -> bool:
    """Send the next request; without one, look at this connection no more."""
    request = next(waiting, None)
    number = link.sock.fileno()
    if request is None:
        if link.began:
            poll.unregister(number)
        return False
    if not link.began:
        poll.register(number, select.EPOLLIN)
    link.began = time.perf_counter()
    link.sock.sendall(request)
    return True


def watch(job: dict[str, Any]) -> dict[str, Any]:
    """Watch by each connection until each has seen all events; return how late each came."""
    links = [connect(job) for _ in range(job["connections"])]
    by_number = {link.sock.fileno(): link for link in links}
    poll = select.epoll()
    for link in links:
        link.sock.sendall(encoded(job, "GET", job["path"], ""))
        poll.register(link.sock.fileno(), select.EPOLLIN)
    _await_heads(links)
    begin()
    late: list[float] = []
    while len(late) < job["events"] * len(links):
        for number, _ in poll.poll(_PATIENCE):
            late += _late(by_number[number])
    return {"late": late}


def _await_heads(links: list[Link]) -> None:
    for link in links:
        while b"\r\n\r\n" not in link.received:
            link.read()
        if link.received[9:12] != b"200":
            raise RefusedError(link.received[:2000].decode(errors="replace"))


def _late(link: Link) -> list[float]:
    """Return the seconds from the write of each event that has come to now."""
    while True:
        link.received += link.sock.recv(_PIECE)
        if not link.sock.pending():
            break
    now = time.time()
    whole, _, rest = link.received.rpartition(b"\n")
    found = [now - float(each) for each in _SENT.findall(bytes(whole))]
    link.received = bytearray(rest)
    return found


def main() -> None:
    """Do one job."""
    job = json.loads(sys.stdin.readline())
    try:
        done = ask(job) if job["work"] == "ask" else watch(job)
    except (RefusedError, OSError) as err:
        sys.exit(f"bench client: {err}")
    done["processor"] = time.process_time()
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
