"""The process that publishes a port: it answers on a socket of the host, and dials in the lab.

It is a fork of the keeper, so it ends with the lab, and its network is the switch. A Service of
type LoadBalancer is dialed from there, as by any client outside; another Service, which only nodes
reach, from a node that runs: a socket belongs to the network in which it was made.
"""

import asyncio
import json
import logging
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import setproctitle

from control.api import kinds
from control.api.service import Service, ServicePort
from control.balancer.streams import PIECE, connected, relay, reset
from control.client import Client, Informer
from control.linux import syscalls
from lab.goals import REQUEST, Goal, Published
from lab.spec import CONTROL_NAMES

_MOST_TALKS = 1024  # of UDP clients; the oldest goes
_IDLE_SECONDS = 120.0
_NODE = re.compile(rf"podwire machine [^/]+/(?!({'|'.join(CONTROL_NAMES)})$)")
logger = logging.getLogger(__name__)


def serve(request: bytes, fd: int, asker: socket.socket) -> None:
    """Publish a port in this process for ever; ``fd`` is the host's socket.

    Who asked hears ``ok`` once the Service's address is known.
    """
    document = json.loads(request.removeprefix(REQUEST))
    wanted = Published.parse(document)
    setproctitle.setproctitle(wanted.title())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with socket.socket(fileno=fd) as listening:
        listening.setblocking(False)
        asyncio.run(_serve(Path(document["kubeconfig"]), wanted.goal, listening, asker))


async def _serve(
    kubeconfig: Path, goal: Goal, listening: socket.socket, asker: socket.socket
) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        name = f"metadata.name={goal.service}"
        services = Informer(client, kinds.SERVICE, goal.namespace, field_selector=name)

        def dial() -> socket.socket:
            return _dial(services.get(goal.namespace, goal.service), goal)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(services.run())
            await services.synced.wait()
            with suppress(OSError), asker:  # who asked may have gone
                asker.sendall(b"ok")
            if goal.protocol == "udp":
                tasks.create_task(_Datagrams(listening, dial).run())
            else:
                tasks.create_task(_accept(listening, dial))


def port_of(service: Service, goal: Goal) -> ServicePort | None:
    """Return the port of a Service that is meant."""
    for port in service.spec.ports:
        if port.protocol.lower() == goal.protocol and goal.port in (port.name, str(port.port)):
            return port
    return None


def _dial(service: Service | None, goal: Goal) -> socket.socket:
    """Begin to connect to a Service; raises OSError, which says what is missing."""
    port = port_of(service, goal) if service is not None else None
    if service is None or port is None:
        raise OSError(f"no Service {goal.namespace}/{goal.service} with port {goal.port}")
    balancer = service.status.load_balancer
    outside = next((i.ip for i in (balancer.ingress if balancer else ()) if i.ip), None)
    address = outside or service.spec.cluster_ip or ""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if goal.protocol == "udp" else socket.SOCK_STREAM
    made = socket.socket(family, kind) if outside else _inside(lambda: socket.socket(family, kind))
    made.setblocking(False)
    with suppress(BlockingIOError):
        try:
            made.connect((address, port.port))
        except BlockingIOError:
            raise
        except OSError:
            made.close()
            raise
    return made


def _inside(make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket in the network of a node that runs; raises OSError."""
    # No other thread runs, and nothing is awaited: so nobody else sees the other network.
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        syscalls.enter(f"/proc/{_node()}/ns/net", syscalls.CLONE_NEWNET)
        return make()
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


def _node() -> int:
    """Return the first process of a node, as this process namespace sees it; raises OSError."""
    for child in Path("/proc/1/task/1/children").read_text().split():
        with suppress(OSError):
            title = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
            if _NODE.match(title):
                return int(child)
    raise OSError("no node of the lab runs")


async def _accept(listening: socket.socket, dial: Callable[[], socket.socket]) -> None:
    """Answer connections, each with one of its own to the Service."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await connected(dial())
        except OSError as err:
            logger.warning("%s: %s", listening.getsockname(), err)
            reset(writer)
            return
        await relay((reader, writer), there)

    server = await asyncio.start_server(talk, sock=listening, limit=PIECE)
    async with server:
        await server.serve_forever()


_Client = tuple[Any, ...]  # the address of a UDP client


class _Datagrams:
    """Answers datagrams: each client has a socket of its own inside, until it is idle."""

    def __init__(self, listening: socket.socket, dial: Callable[[], socket.socket]) -> None:
        self._listening, self._dial = listening, dial
        self._talks: dict[_Client, tuple[socket.socket, float]] = {}  # the newest last
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        self._loop.add_reader(self._listening, self._from_outside)
        try:
            while True:
                await asyncio.sleep(_IDLE_SECONDS / 4)
                for client, (_, last) in list(self._talks.items()):
                    if self._loop.time() - last > _IDLE_SECONDS:
                        self._end(client)
        finally:
            self._loop.remove_reader(self._listening)
            for client in list(self._talks):
                self._end(client)

    def _from_outside(self) -> None:
        try:
            data, client = self._listening.recvfrom(PIECE)
            made = self._talk(client)
            made.send(data)
        except OSError as err:  # a lost datagram is nothing new to a client
            logger.info("a datagram is lost: %s", err)

    def _talk(self, client: _Client) -> socket.socket:
        known = self._talks.pop(client, None)
        if known is None:
            if len(self._talks) >= _MOST_TALKS:
                self._end(next(iter(self._talks)))
            known = self._dial(), 0.0
            self._loop.add_reader(known[0], self._from_inside, known[0], client)
        self._talks[client] = known[0], self._loop.time()
        return known[0]

    def _from_inside(self, made: socket.socket, client: _Client) -> None:
        try:
            self._listening.sendto(made.recv(PIECE), client)
        except BlockingIOError:
            return
        except OSError:  # refused: the next datagram dials again
            self._end(client)

    def _end(self, client: _Client) -> None:
        made, _ = self._talks.pop(client)
        self._loop.remove_reader(made)
        made.close()
