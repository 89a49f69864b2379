"""Runs the server: informers keep the zone, threads and tasks answer from it.

informers ─► feed ─► zone ◄─ answerer ◄─ udp (threads), tcp (tasks) ─► forwarder ─► resolvers
               └─ shared.changed(): kept responses are dropped
"""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address

from control.client import Client
from control.dns.answer import Answerer
from control.dns.feed import Feed, follow
from control.dns.log import log_answer
from control.dns.metrics import render
from control.dns.names import Name
from control.dns.records import AAAA, A, Rdata
from control.dns.settings import Settings, open_sockets
from control.dns.tcp import TcpServer
from control.dns.udp import Shared, UdpServer
from control.dns.upstream.cache import Cache
from control.dns.upstream.forwarder import Forwarder
from control.dns.upstream.loop import Loops
from control.dns.upstream.reply import Question, Reply
from control.dns.upstream.routes import Route, Routes
from control.dns.web import serve_pages
from control.dns.zone import Zone


async def serve(client: Client, settings: Settings) -> None:
    """Serve for ever; raises OSError if an address cannot be had, or a resolver leads back here."""
    sockets = open_sockets(settings)
    zone, shared, synced = (
        Zone(settings.domain, settings.ttl, settings.pods),
        Shared(),
        asyncio.Event(),
    )
    zone.serve_at(_own_addresses(sockets))
    upstream = settings.upstream
    outside = Outside(Routes(upstream.routes), Cache(time.monotonic))
    forwarder = Forwarder(outside.cache, upstream.policy, upstream.cache_seconds)
    servers = _Servers(sockets, Answerer(zone, outside), shared, settings, forwarder)

    def changed() -> None:
        zone.touch(int(time.time()))
        shared.changed()

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        await serve_pages(stack, settings.pages, synced.is_set, servers.metrics)
        verified, names = settings.pods == "verified", settings.endpoint_pod_names
        following = follow(client, Feed(zone, changed), synced, pods=verified, pod_names=names)
        tasks.create_task(following)
        await synced.wait()  # until then packets wait in the sockets
        servers.start(tasks, stack)
        if upstream.routes:
            await Loops(forwarder, upstream.routes).watch()


class _Servers:
    """The servers of all sockets."""

    def __init__(
        self,
        sockets: list[socket.socket],
        answerer: Answerer,
        shared: Shared,
        settings: Settings,
        forwarder: Forwarder,
    ) -> None:
        self._forwarder = forwarder
        log = log_answer if settings.log_answers else None
        self._udp = [
            UdpServer(each, answerer, shared, log, forwarder)
            for each in sockets
            if each.type == socket.SOCK_DGRAM
        ]
        self._tcp = [
            TcpServer(each, answerer, log, forwarder=forwarder)
            for each in sockets
            if each.type == socket.SOCK_STREAM
        ]

    def start(self, tasks: asyncio.TaskGroup, stack: AsyncExitStack) -> None:
        """Begin to answer, until the stack closes."""
        for server in self._udp:
            server.start()
            stack.callback(server.stop)
        for each in self._tcp:
            tasks.create_task(each.serve())

    def metrics(self) -> str:
        """Return the text of all metrics."""
        counted = [cells for each in self._udp for cells in (each.cells, each.later_cells)]
        counted += [each.cells for each in self._tcp]
        every = (cell for cells in counted for cell in cells.snapshot())
        return render(every, self._forwarder.metrics.lines())


@dataclass(frozen=True, slots=True)
class Outside:
    """The routes and the cache, as the answerer sees them."""

    routes: Routes
    cache: Cache

    def find(self, name: Name) -> Route | None:
        return self.routes.find(name)

    def get(self, question: Question) -> tuple[Reply, int] | None:
        return self.cache.get(question)


def _own_addresses(sockets: list[socket.socket]) -> dict[int, tuple[Rdata, ...]]:
    """Return the addresses on which the server listens, by record type."""
    found: dict[int, dict[Rdata, None]] = {A: {}, AAAA: {}}
    for each in sockets:
        address = ip_address(each.getsockname()[0].partition("%")[0])
        if not address.is_unspecified:
            found[A if address.version == 4 else AAAA][address.packed] = None
    return {kind: tuple(addresses) for kind, addresses in found.items() if addresses}
