"""Which API servers there are: those that a balancer was told of, and what the cluster says since.

The cluster's word is the EndpointSlices of the Service ``kubernetes``, which each API server keeps.
They are kept in a file, too: a node that boots after the servers of its settings were replaced
finds the others. A server that is in no slice any more gets no connection, because it answers
nobody; it is forgotten only when others take its place, so that a node which saw all servers but
one away does not lose them.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from control.api import kinds
from control.balancer.backend import Backend
from control.balancer.relay import Relay
from control.client import Client, Informer
from control.linux import whole

MOST = 8  # servers that are remembered
LABELS = "kubernetes.io/service-name=kubernetes"
Server = tuple[str, int]  # an address and a port
logger = logging.getLogger(__name__)


class Servers:
    """The relay's backends, and the tasks that ask for their health."""

    def __init__(self, relay: Relay, tls: ssl.SSLContext, known: Path | None = None) -> None:
        """``known`` is the file that keeps the servers."""
        self._relay, self._tls, self._known = relay, tls, known
        self._following: dict[Server, tuple[Backend, asyncio.Task[None]]] = {}

    def begin(self, given: Iterable[Server]) -> None:
        """Take those of the file, and those that are given."""
        self._follow([*_kept(self._known), *given])

    def take(self, listed: Iterable[Server]) -> None:
        """Take what the cluster says; the others are remembered behind it."""
        self._follow([*listed, *self._following])
        if self._known is not None:
            self._known.parent.mkdir(parents=True, exist_ok=True)
            whole.write(self._known, orjson.dumps(list(self._following)).decode(), 0o600)

    def _follow(self, wanted: Iterable[Server]) -> None:
        chosen = list(dict.fromkeys(wanted))[:MOST]
        before, self._following = self._following, {}
        for server in chosen:
            held = before.pop(server) if server in before else self._begun(server)
            self._following[server] = held
        for backend, task in before.values():
            task.cancel()
            backend.lose()
        self._relay.backends = [backend for backend, _ in self._following.values()]
        self._relay.changed()

    def _begun(self, server: Server) -> tuple[Backend, "asyncio.Task[None]"]:
        address, port = server
        backend = Backend(address, address, self._relay.changed, port)
        return backend, asyncio.create_task(backend.follow(self._tls))


def _kept(path: Path | None) -> list[Server]:
    """Return the servers of the file; none if it cannot be read: the given ones are there."""
    try:
        text = path.read_bytes() if path else b"[]"
        return [(str(address), int(port)) for address, port in orjson.loads(text)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as err:
        logger.warning("%s: %s", path, err)
        return []


async def follow(client: Client, servers: Servers) -> None:
    """Take for ever what the cluster says."""
    informer = Informer(client, kinds.ENDPOINT_SLICE, "default", label_selector=LABELS)

    def changed(*_: object) -> None:
        if found := listed(informer.snapshot().values()):
            servers.take(found)

    informer.subscribe(changed)
    await informer.run()


def listed(slices: Iterable[Any]) -> list[Server]:
    """Return the servers of EndpointSlices, in order."""
    found = {
        (address, port.port)
        for one in slices
        for port in one.ports
        if port.port
        for endpoint in one.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    }
    return sorted(found)
