"""Resolvers to ask, and a DNS server without an API server that asks them."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.message
import dns.query
import dns.rrset

from control.dns.answer import Answerer
from control.dns.serve import Outside
from control.dns.tcp import TcpServer
from control.dns.udp import Shared, UdpServer
from control.dns.upstream.cache import Cache
from control.dns.upstream.forwarder import Forwarder
from control.dns.upstream.routes import Routes, read_routes
from tests.support.control.names import Names
from tests.support.control.queries import HOST, PORTS

Script = Callable[[dns.message.Message, Callable[[bytes], None]], None]


class Scripted(asyncio.DatagramProtocol):
    """A resolver that keeps what it is asked, and answers as a test says."""

    def __init__(self, script: Script) -> None:
        self.asked: list[dns.message.Message] = []
        self._script = script

    def connection_made(self, transport) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, peer) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self._script(query, lambda packet: self._transport.sendto(packet, peer))

    @property
    def names(self) -> list[str]:
        """The names that were asked for, in their order, without checks of health."""
        names = (query.question[0].name.to_text() for query in self.asked)
        return [name for name in names if name != "."]

    def close(self) -> None:
        """End."""
        self._transport.close()


async def scripted(script: Script) -> Scripted:
    """Start a resolver at a port of its own."""
    loop = asyncio.get_running_loop()
    _, found = await loop.create_datagram_endpoint(lambda: Scripted(script), local_addr=(HOST, 0))
    return found


def reply(query: dns.message.Message, *records: str, rcode: int = 0) -> bytes:
    """Return a reply with records, each as text: its name, TTL, class, type and value."""
    answer = dns.message.make_response(query, recursion_available=True)
    answer.set_rcode(rcode)
    for record in records:
        name, ttl, cls, kind, value = record.split(maxsplit=4)
        section = answer.authority if kind == "SOA" else answer.answer
        section.append(dns.rrset.from_text(name, int(ttl), cls, kind, value))
    return answer.to_wire()


def says(*records: str, rcode: int = 0) -> Script:
    """Return a script that always gives the same reply."""
    return lambda query, send: send(reply(query, *records, rcode=rcode))


class Served:
    """A DNS server in the test's event loop, which asks resolvers."""

    def __init__(
        self, *objects, upstreams=(), stubs=(), policy="sequential", seconds=30, log=None
    ) -> None:
        shared = Shared()
        self.names = names = Names(*objects, changed=shared.changed)
        self.routes = read_routes(upstreams, stubs, names.zone.domain)
        outside = Outside(Routes(self.routes), Cache(time.monotonic))
        self.forwarder = Forwarder(outside.cache, policy, seconds)
        answerer = Answerer(names.zone, outside)
        self.port = next(PORTS)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((HOST, self.port))
        self.udp = UdpServer(udp, answerer, shared, log, self.forwarder)
        self._thread = self.udp.start()
        listening = socket.create_server((HOST, self.port))
        self.tcp = TcpServer(listening, answerer, log, forwarder=self.forwarder)
        self._serving = asyncio.create_task(self.tcp.serve())

    def metrics(self) -> str:
        """Return the lines about resolvers."""
        return "\n".join(self.forwarder.metrics.lines())

    async def close(self) -> None:
        """End."""
        self.udp.stop()
        await asyncio.to_thread(self._thread.join)
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a state that comes at its own time."""
    while True:
        if holds():
            return
        await asyncio.sleep(0.01)


@contextmanager
def dnsmasq(*options: str) -> Iterator[int]:
    """Run Debian's dnsmasq, which knows what the options say; yield its port when it answers."""
    port = next(PORTS)
    argv = ["dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
    argv += [f"--port={port}", "--pid-file=", f"--listen-address={HOST}", "--bind-interfaces"]
    with subprocess.Popen([*argv, "--local=/#/", *options]) as process:
        try:
            _until_it_answers(process, port)
            yield port
        finally:
            process.kill()


def _until_it_answers(process: subprocess.Popen, port: int) -> None:
    query = dns.message.make_query("ready.", "A")
    while process.poll() is None:
        try:
            dns.query.tcp(query, HOST, port=port, timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("dnsmasq ended")
