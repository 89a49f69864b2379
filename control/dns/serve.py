"""Runs the server: informers keep the zone, threads and tasks answer from it.

informers ─► feed ─► zone ◄─ answerer ◄─ udp (threads), tcp (tasks)
               └─ shared.changed(): kept responses are dropped
"""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from ipaddress import ip_address

from control.client import Client
from control.dns.answer import Answerer
from control.dns.feed import Feed, follow
from control.dns.log import log_answer
from control.dns.metrics import render
from control.dns.records import AAAA, A, Rdata
from control.dns.settings import Settings, open_sockets
from control.dns.tcp import TcpServer
from control.dns.udp import Shared, UdpServer
from control.dns.web import serve_pages
from control.dns.zone import Zone


async def serve(client: Client, settings: Settings) -> None:
    """Serve for ever; raises OSError if an address cannot be had."""
    sockets = open_sockets(settings)
    zone, shared, synced = Zone(settings.domain, settings.ttl), Shared(), asyncio.Event()
    zone.serve_at(_own_addresses(sockets))
    answerer = Answerer(zone)

    def changed() -> None:
        zone.touch(int(time.time()))
        shared.changed()

    log = log_answer if settings.log_answers else None
    udp = [
        UdpServer(each, answerer, shared, log) for each in sockets if each.type == socket.SOCK_DGRAM
    ]
    tcp = [TcpServer(each, answerer, log) for each in sockets if each.type == socket.SOCK_STREAM]

    counted = [*(each.cells for each in udp), *(each.cells for each in tcp)]

    def metrics() -> str:
        return render(cell for cells in counted for cell in cells.snapshot())

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        await serve_pages(stack, settings.pages, synced.is_set, metrics)
        tasks.create_task(follow(client, Feed(zone, changed), synced))
        await synced.wait()  # until then packets wait in the sockets
        for server in udp:
            server.start()
        for each in tcp:
            tasks.create_task(each.serve())


def _own_addresses(sockets: list[socket.socket]) -> dict[int, tuple[Rdata, ...]]:
    """Return the addresses on which the server listens, by record type."""
    found: dict[int, dict[Rdata, None]] = {A: {}, AAAA: {}}
    for each in sockets:
        address = ip_address(each.getsockname()[0].partition("%")[0])
        if not address.is_unspecified:
            found[A if address.version == 4 else AAAA][address.packed] = None
    return {kind: tuple(addresses) for kind, addresses in found.items() if addresses}
