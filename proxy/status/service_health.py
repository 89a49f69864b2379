"""Health check node ports: load balancers ask them which nodes have endpoints of a Service.

A Service of type LoadBalancer with externalTrafficPolicy Local has such a port on every node.
Responses are upstream's: 200 while this node has ready endpoints, otherwise 503. The number of
endpoints is in the JSON body and in the header X-Load-Balancing-Endpoint-Weight. Every path has the
same response: balancers ask for ``/``, ``/healthz`` or what somebody configured.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web
from msgspec import Struct

from proxy.desired.desired import Desired, Portals
from proxy.linux.addresses import local_addresses
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key
from proxy.status.events import Reporter
from proxy.status.health import ProxyHealth
from proxy.status.web import EVERY_PATH, listening

logger = logging.getLogger("podwire.proxy.health")

EVERYWHERE: Sequence[str | None] = (None,)
_AGAIN = 5.0  # seconds until a port of another program is tried again


class LocalEndpointCount(Struct, frozen=True):
    """The number of a Service's ready endpoints on this node."""

    service: Key
    endpoints: int


def count(key: Key, portals: Portals) -> tuple[int, LocalEndpointCount] | None:
    """Return a Service's health check port with its count; None if it has no such port.

    A Pod with addresses of both families is one endpoint.
    """
    checked = [portal for portal in portals if portal.health_check_port]
    if not checked:
        return None
    ready = {address for portal in checked for address in portal.ready_here}
    families = Counter(len(address) for address in ready)
    return checked[0].health_check_port, LocalEndpointCount(key, max(families.values(), default=0))


def hosts_of(settings: ProxySettings) -> Sequence[str | None]:
    """Return the node addresses at which load balancers ask: those that serve NodePorts."""
    if all(settings.node_port_networks_of(family) is None for family in Family):
        return EVERYWHERE
    served = filter(settings.is_node_port_address, local_addresses())
    return sorted(str(address) for address in served if not address.is_link_local)


class ServiceHealth:
    """The servers of all health check ports, at the node's ``hosts``."""

    def __init__(
        self, health: ProxyHealth, report: Reporter, hosts: Sequence[str | None] = EVERYWHERE
    ) -> None:
        self._health = health
        self._report = report
        self._hosts = hosts
        self._turn = asyncio.Lock()  # one opens or closes servers at a time
        self._refused: set[int] = set()  # ports that another program has
        self._again: asyncio.TimerHandle | None = None
        self._trying: asyncio.Task[None] | None = None
        self._have = Desired()
        self._checked: dict[Key, tuple[int, LocalEndpointCount]] = {}
        self._counts: Mapping[int, LocalEndpointCount] = {}
        self._servers: dict[int, AsyncExitStack] = {}

    async def update(self, want: Desired) -> None:
        """Serve ``want`` from now on. If two Services have one port, the first name gets it."""
        for key in want.changed_since(self._have):
            self._checked.pop(key, None)
            if found := count(key, want.get(key, ())):
                self._checked[key] = found
        self._have = want
        self._counts = {port: one for _, (port, one) in sorted(self._checked.items(), reverse=True)}
        await self._listen()

    async def _listen(self) -> None:
        async with self._turn:
            for port in self._servers.keys() - self._counts.keys():
                await self._servers.pop(port).aclose()
            self._refused &= self._counts.keys()
            for port in self._counts.keys() - self._servers.keys():
                await self._open(port)
        if self._again is not None:
            self._again.cancel()
        if self._refused:
            self._again = asyncio.get_running_loop().call_later(_AGAIN, self._try_again)

    async def _open(self, port: int) -> None:
        server = AsyncExitStack()
        routes = {EVERY_PATH: partial(self._response, port)}
        try:
            await server.enter_async_context(listening(routes, self._hosts, port))
        except OSError as err:
            self._report_taken(port, err)
        else:
            self._refused.discard(port)
            self._servers[port] = server

    def _report_taken(self, port: int, err: OSError) -> None:
        """Report once that a port is taken, as upstream does."""
        if port in self._refused:
            return
        self._refused.add(port)
        key = self._counts[port].service
        why = f"failed to start healthcheck on port {port}: {err.strerror}"
        logger.error("Service %s: %s", "/".join(key), why)
        self._report.about_service(key, "/".join(key), "FailedToStartServiceHealthcheck", why)

    def _try_again(self) -> None:
        self._trying = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop all servers."""
        await self.update(Desired())
        if self._trying is not None:
            await self._trying

    def _response(self, port: int, _: web.Request) -> web.Response:
        healthy = self._health.alive
        count = self._counts.get(port)
        if count is None:  # its Service has gone, and the server is about to
            gone = {"localEndpoints": 0, "serviceProxyHealthy": healthy}
            return web.json_response(gone, status=503)
        namespace, name = count.service
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
