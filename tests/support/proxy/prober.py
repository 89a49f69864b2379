"""The work of workers: answering with a name and the peer's address, and probing."""

import asyncio
import contextlib
import selectors
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from tests.support.proxy import sctp

TCP, UDP, SCTP = "TCP", "UDP", "SCTP"
_AT_ONCE = 100
_PATIENCE = 180  # seconds: what takes so long has failed on any machine


def serve(name: str, port: int) -> None:
    """Answer TCP, UDP and SCTP with ``NAME PEER``, in the background."""
    selector = selectors.DefaultSelector()
    stream = socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=500
    )
    datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagram.bind(("::", port))
    selector.register(stream, selectors.EVENT_READ, _answer_stream)
    selector.register(datagram, selectors.EVENT_READ, _answer_datagram)
    threading.Thread(target=_serve, args=(selector, name), daemon=True).start()
    sctp.serve(name, port)


def _serve(selector: selectors.DefaultSelector, name: str) -> None:
    while True:
        for key, _ in selector.select():
            try:
                key.data(key.fileobj, name)
            except OSError:  # the peer is gone; so is its question
                continue


def _answer_stream(listener: socket.socket, name: str) -> None:
    connection, peer = listener.accept()
    with connection:
        connection.sendall(f"{name} {_plain(peer[0])}".encode())


def _answer_datagram(listener: socket.socket, name: str) -> None:
    _, peer = listener.recvfrom(100)
    listener.sendto(f"{name} {_plain(peer[0])}".encode(), peer)


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


@dataclass(frozen=True)
class Probe:
    """Ask ``address``:``port`` until each of ``until`` has answered, or ``tries`` times."""

    address: str
    port: int
    protocol: str
    until: frozenset[str] = frozenset()
    tries: int = 1
    timeout: float = 5.0
    strict: bool = False  # whether one question without an answer is the end


@dataclass(frozen=True)
class Answer:
    """The answering name, the peer that it saw, and our address; or ``refused`` or ``silent``."""

    name: str
    peer: str = ""
    source: str = ""


def ask(probes: list[Probe]) -> list[list[Answer]]:
    """Carry out all probes, many at once."""
    return asyncio.run(_ask(probes))


async def _ask(probes: list[Probe]) -> list[list[Answer]]:
    limit = asyncio.Semaphore(_AT_ONCE)
    return await asyncio.gather(*(_probe(probe, limit) for probe in probes))


async def _probe(probe: Probe, limit: asyncio.Semaphore) -> list[Answer]:
    answers: list[Answer] = []
    once = {TCP: _once_tcp, UDP: _once_udp, SCTP: _once_sctp}[probe.protocol]
    for _ in range(probe.tries):
        async with limit:
            answers.append(await _timed(once, probe))
        failed = probe.strict and not answers[-1].peer
        if failed or (probe.until and probe.until <= {answer.name for answer in answers}):
            break
    return answers


async def _timed(once, probe: Probe) -> Answer:
    try:
        async with asyncio.timeout(None if probe.protocol == SCTP else probe.timeout):
            return await once(probe)
    except ConnectionRefusedError:
        return Answer("refused")
    except OSError:  # a timeout is one too
        return Answer("silent")


async def _once_tcp(probe: Probe) -> Answer:
    reader, writer = await asyncio.open_connection(probe.address, probe.port)
    try:
        source = writer.get_extra_info("sockname")[0]
        return _answer(await reader.read(), source)
    finally:
        writer.transport.abort()


async def _once_udp(probe: Probe) -> Answer:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in probe.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((probe.address, probe.port))
        source = sock.getsockname()[0]
        with contextlib.suppress(PermissionError):  # dropped on its way out; perhaps rejected
            await loop.sock_sendall(sock, b"?")
        return _answer(await loop.sock_recv(sock, 100), source)


async def _once_sctp(probe: Probe) -> Answer:
    said, source = await asyncio.to_thread(sctp.ask, probe.address, probe.port, probe.timeout)
    return _answer(said.encode(), source)


def _answer(said: bytes, source: str) -> Answer:
    name, _, peer = said.decode().partition(" ")
    return Answer(name or "silent", peer, source)


def fetch(url: str) -> tuple[int, str]:
    """Return the status and the body of a page; raises OSError if nobody answers."""
    # Here, as a worker that only probes needs none of it.
    from urllib import error, request

    try:
        with request.urlopen(url, timeout=60) as answer:  # noqa: S310  # of a test
            return answer.status, answer.read().decode()
    except error.HTTPError as err:
        return err.code, err.read().decode()


def echo(port: int) -> None:
    """Send back the data of each TCP connection, in the background."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def serve_one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(data)

    def accept() -> None:
        while True:
            threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Traffic:
    """An action that is repeated in the background; ``faults`` describes its failures."""

    def __init__(self, once, pause: float) -> None:
        self.count = 0
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(once, pause), daemon=True)
        self._thread.start()

    def _run(self, once, pause: float) -> None:
        while not self._stop.wait(pause):
            try:
                once()
            except OSError as err:
                self.faults.append(f"{self.count}: {err!r}")
            self.count += 1

    def stop(self) -> tuple[int, list[str]]:
        self._stop.set()
        self._thread.join()
        return self.count, self.faults


_traffic: dict[str, Traffic] = {}


def connect_often(name: str, address: str, port: int, pause: float = 0.005) -> None:
    """Open new connections again and again; each must be answered."""

    def once() -> None:
        with socket.create_connection((address, port), timeout=_PATIENCE) as connection:
            if not connection.recv(100):
                raise OSError("closed without an answer")

    _traffic[name] = Traffic(once, pause)


def talk(name: str, address: str, port: int, pause: float = 0.005) -> None:
    """Keep one connection to an echo server, and use it."""
    connection = socket.create_connection((address, port), timeout=_PATIENCE)

    def once() -> None:
        connection.sendall(b"ping")
        if connection.recv(4) != b"ping":
            raise OSError("the connection broke")

    _traffic[name] = Traffic(once, pause)


def converse(name: str, address: str, port: int, pause: float = 0.005) -> None:
    """Ask by UDP again and again from one port.

    A datagram may be lost while rules change, so a question is asked three times, as resolvers do,
    the last time with patience. A flow without an endpoint stays silent.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((address, port))

    def once() -> None:
        sock.settimeout(2)
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                sock.send(b"?")
                sock.recv(100)
                return
        sock.settimeout(_PATIENCE)
        sock.send(b"?")
        sock.recv(100)

    _traffic[name] = Traffic(once, pause)


def bustle(address: str, address6: str) -> None:
    """Start all traffic that must survive a proxy's changes; ``faults`` ends it.

    It is new connections every 5 ms, a connection with data, and a UDP flow, in both families.
    """
    for family, one in (("4", address), ("6", address6)):
        connect_often(f"new{family}", one, 80)
        talk(f"old{family}", one, 7)
        converse(f"flow{family}", one, 53)


def faults(least: int = 50) -> list[str]:
    """End the traffic of ``bustle``, each action done ``least`` times; return its failures.

    An action may have been done few times by now: a lost datagram costs the flow two seconds.
    """
    for name in _traffic:
        _until_done(name, least)
    return [f"{name} {fault}" for name in list(_traffic) for fault in traffic(name)[1]]


def go_on(name: str, more: int = 20) -> None:
    """Wait until the action was repeated ``more`` times more, with or without success."""
    _until_done(name, _traffic[name].count + more)


def _until_done(name: str, enough: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _traffic[name].count < enough:
        assert time.monotonic() < deadline, f"{name} stands still: {_traffic[name].faults}"
        time.sleep(0.01)


def traffic(name: str) -> tuple[int, list[str]]:
    """Stop the action; return how often it was done, and its failures."""
    return _traffic.pop(name).stop()


_datagrams: dict[tuple[str, int], socket.socket] = {}


def ask_from_one_port(address: str, port: int, timeout: float = 2.0) -> str:
    """Ask once by UDP, always from the same source port; return the name, refused or silent."""
    key = (address, port)
    if key not in _datagrams:
        _datagrams[key] = socket.socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
        )
        _datagrams[key].connect(key)
    sock = _datagrams[key]
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        while sock.recv(100):  # an answer to an earlier question that came late
            continue
    sock.settimeout(timeout)
    try:
        with contextlib.suppress(PermissionError):  # dropped on its way out; perhaps rejected
            sock.send(b"?")
        return sock.recv(100).decode().split()[0]
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"


def ping(address: str) -> bool:
    """Return True if an address answers to ICMP echo, and False as soon as it is refused."""
    done = subprocess.run(["ping", "-c1", "-W60", address], capture_output=True, check=False)
    return done.returncode == 0


def connect_times(address: str, port: int, count: int) -> list[float]:
    """Return how many seconds each new connection takes to its first byte, one after the other."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        with socket.create_connection((address, port), timeout=10) as connection:
            connection.recv(1)
            times.append(time.perf_counter() - began)
    return times
