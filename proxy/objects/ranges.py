"""Follows the cluster's Service ranges: ServiceCIDR objects, as kube-proxy does (KEP-1880)."""

import asyncio
import logging
from collections.abc import Callable

from control.client import ApiError, Client, ClientError, Informer
from proxy.model.values import Network
from proxy.objects.parse import parse_network
from proxy.objects.wire import SERVICE_CIDR, ServiceCIDR

logger = logging.getLogger("podwire.proxy.feed")

_AGAIN = 60.0  # seconds until a server without the kind is asked again: it may be upgraded


Ranges = tuple[Network, ...]


class ServiceRanges:
    """The ranges that flags name, and those of all ServiceCIDRs. ``told`` gets each change."""

    def __init__(self, given: Ranges, told: Callable[[Ranges], None]) -> None:
        self._given = given
        self._told = told
        self._found: dict[str, Ranges] = {}
        self.listed = asyncio.Event()  # set once the server said what there is

    async def follow(self, client: Client) -> None:
        """Follow until cancelled. A server before Kubernetes 1.33 has none, which is no fault."""
        self._tell()
        while not await self._is_served(client):
            self.listed.set()
            await asyncio.sleep(_AGAIN)
        informer = Informer(client, SERVICE_CIDR)
        informer.subscribe(self._take)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.synced.wait()
            self.listed.set()

    async def _is_served(self, client: Client) -> bool:
        try:
            async for _ in client.pages(SERVICE_CIDR, None, limit=1):
                return True
        except ApiError as err:
            return err.code not in (403, 404)
        except ClientError:  # the informer says so, and tries again
            pass
        return True

    def _take(self, old: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        if new is None:
            self._found.pop(old.metadata.name if old else "", None)
        else:
            self._found[new.metadata.name] = tuple(_parsed(new))
        self._tell()

    def _tell(self) -> None:
        every = {network for ranges in (self._given, *self._found.values()) for network in ranges}
        self._told(tuple(sorted(every, key=lambda network: (network.version, network))))


def _parsed(wire: ServiceCIDR) -> Ranges:
    found: list[Network] = []
    for text in wire.spec.cidrs:
        try:
            found.append(parse_network(text))
        except ValueError as err:
            logger.warning("ServiceCIDR %s: %r is ignored: %s", wire.metadata.name, text[:80], err)
    return tuple(found)
