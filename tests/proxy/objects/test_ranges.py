"""The ranges of ClusterIPs: ServiceCIDRs come and go, and an old server has none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

from control.api.meta import Status
from control.client.errors import ApiError, Operation
from control.client.listing import Listing
from control.client.stream import parse_event, read_object
from proxy.objects.ranges import ServiceRanges

GIVEN = (ip_network("10.96.0.0/16"),)


def wire(name: str, *cidrs: str) -> dict:
    meta = {"name": name, "uid": name, "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"cidrs": list(cidrs)}}


class Server:
    """ServiceCIDRs and their changes; ``code`` is what a list is refused with."""

    def __init__(self, items: list[dict], events: list[bytes], code: int = 0) -> None:
        self._items, self._events, self._code = items, events, code
        self.told = asyncio.Event()

    async def pages(self, kind, _namespace, **_: object) -> AsyncIterator[Listing]:
        if self._code:
            raise ApiError(Operation("list", kind.plural), Status(code=self._code))
        yield Listing(tuple(read_object(kind, item) for item in self._items), "1")

    @asynccontextmanager
    async def watch(self, kind, _namespace, **_: object):
        yield self._changes(kind)

    async def _changes(self, kind):
        for line in self._events:
            yield parse_event(kind, line)
        self.told.set()
        await asyncio.Event().wait()


def ranges(server: Server, *, until_told: bool) -> list[str]:
    """Return the last ranges that were told."""

    async def follow() -> list[str]:
        told: list = []
        followed = ServiceRanges(GIVEN, lambda found: told.append(found))
        task = asyncio.create_task(followed.follow(server))
        async with asyncio.timeout(60):
            await (server.told if until_told else followed.listed).wait()
        task.cancel()
        return [str(network) for network in told[-1]]

    return asyncio.run(follow())


def test_every_range_counts_once():
    items = [wire("kubernetes", "10.96.0.0/16", "fd00::/112"), wire("more", "10.1.0.0/24")]
    found = ranges(Server(items, []), until_told=True)
    assert found == ["10.1.0.0/24", "10.96.0.0/16", "fd00::/112"]


def test_a_range_that_goes_is_forgotten_and_a_malformed_one_ignored():
    gone = (
        b'{"type": "DELETED", "object": {"metadata": {"name": "more", "uid": "more",'
        b' "resourceVersion": "2"}, "spec": {"cidrs": ["10.1.0.0/24"]}}}'
    )
    items = [wire("kubernetes", "10.2.0.0/24", "x/y"), wire("more", "10.1.0.0/24")]
    assert ranges(Server(items, [gone]), until_told=True) == ["10.2.0.0/24", "10.96.0.0/16"]


def test_a_server_without_the_kind_leaves_the_given_ranges():
    assert ranges(Server([], [], 404), until_told=False) == ["10.96.0.0/16"]
    assert ranges(Server([], [], 403), until_told=False) == ["10.96.0.0/16"]
