"""Finds resolvers that lead back here, which would ask each other without end.

As CoreDNS' plugin loop does: each resolver is asked for a random name at the start. If that name
is asked of this server, the question came back.
"""

import asyncio
import secrets
from collections.abc import Iterable

from control.dns.message import RD
from control.dns.names import BadNameError, Name, below, show
from control.dns.upstream.exchange import NoReplyError, ask
from control.dns.upstream.forwarder import Forwarder
from control.dns.upstream.reply import Question
from control.dns.upstream.routes import Route, Server

_HINFO = 13
# Of two servers that share a socket the other may get the question, and a resolver may wait for its
# own equal question instead of passing it on: so ask several times.
_PROBES = 3


class LoopError(OSError):
    """A resolver asks this server what this server asks it; the text names both."""


class Loops:
    """Watches for the names that it asked for."""

    def __init__(self, forwarder: Forwarder, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        self._names: dict[Name, tuple[Server, Name]] = {}
        self._found: asyncio.Future[tuple[Server, Name]] = asyncio.Future()
        forwarder.watched = self._saw

    def _saw(self, name: Name) -> None:
        if name in self._names and not self._found.done():
            self._found.set_result(self._names[name])

    async def watch(self) -> None:
        """Ask each resolver, then wait for ever; raises LoopError."""
        async with asyncio.TaskGroup() as tasks:
            probes = [
                tasks.create_task(self._probe(route.domain, server))
                for route in self._routes
                for server in route.servers
            ]
            server, domain = await self._found
            for probe in probes:
                probe.cancel()
        raise LoopError(
            f"the resolver {server} for {show(domain)} leads back to this server; name "
            "another one, or make that one answer by itself"
        )

    async def _probe(self, domain: Name, server: Server) -> None:
        for _ in range(_PROBES):
            try:
                name = below(domain, secrets.token_hex(8), secrets.token_hex(8))
            except BadNameError:  # a stub domain of nearly 255 bytes has no room for one
                return
            self._names[name] = server, domain
            try:
                await ask(server, Question(name, _HINFO, RD, edns=False, dnssec=False), 0)
            except NoReplyError:
                continue  # its health is not the matter here
