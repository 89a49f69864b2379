"""Health check node ports: load balancers ask them which nodes have endpoints of a Service.

A Service of type LoadBalancer with externalTrafficPolicy Local has such a port on every node. Its
answers are upstream's: 200 while this node has ready endpoints, else 503, and how many as JSON and
in the header X-Load-Balancing-Endpoint-Weight.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from proxy.health import Health
from proxy.model import Key
from proxy.state import Desired, Portals
from proxy.web import serving


@dataclass(frozen=True, slots=True)
class Count:
    """How many ready endpoints a Service has on this node."""

    service: Key
    endpoints: int


def count(key: Key, portals: Portals) -> tuple[int, Count] | None:
    """A Service's health check port with its answer; None if it has no such port."""
    checked = [portal for portal in portals if portal.health_check_port]
    if not checked:
        return None
    ready = {address for portal in checked for address in portal.ready_here}
    return checked[0].health_check_port, Count(key, len(ready))


class ServiceHealth:
    """The servers of all health check ports; an async context manager."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._have = Desired()
        self._checked: dict[Key, tuple[int, Count]] = {}
        self._counts: Mapping[int, Count] = {}
        self._servers: dict[int, AsyncExitStack] = {}

    async def update(self, want: Desired) -> None:
        """Answer for ``want`` from now on; of two Services the first name has the port."""
        for key in want.changed_since(self._have):
            self._checked.pop(key, None)
            if found := count(key, want.get(key, ())):
                self._checked[key] = found
        self._have = want
        self._counts = {port: one for _, (port, one) in sorted(self._checked.items(), reverse=True)}
        await self._listen()

    async def _listen(self) -> None:
        for port in self._servers.keys() - self._counts.keys():
            await self._servers.pop(port).aclose()
        for port in self._counts.keys() - self._servers.keys():
            server = AsyncExitStack()
            routes = {"/": partial(self._answer, port)}
            await server.enter_async_context(serving(routes, None, port))
            self._servers[port] = server

    async def close(self) -> None:
        """Stop all servers."""
        await self.update(Desired())

    def _answer(self, port: int) -> web.Response:
        count = self._counts[port]
        namespace, name = count.service
        healthy = self._health.alive
        body = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": count.endpoints,
            "serviceProxyHealthy": healthy,
        }
        headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Load-Balancing-Endpoint-Weight": str(count.endpoints),
        }
        good = healthy and count.endpoints > 0
        return web.json_response(body, status=200 if good else 503, headers=headers)
