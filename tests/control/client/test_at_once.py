"""How many requests of a client are under way at once, and who does not wait for them."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control.api.kinds import CONFIG_MAP, LEASE
from control.client import Client
from control.client.kubeconfig import ClientConfig


class Slow:
    """A server that answers when it is told to, and notes who asks."""

    def __init__(self) -> None:
        self.connections, self.now, self.most = set(), 0, 0
        self.go, self.three = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await self.go.wait()
            return stream
        if "leases" not in request.path:
            self.connections.add(request.transport.get_extra_info("peername"))
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == 3:
                self.three.set()
            await self.go.wait()
            self.now -= 1
        name = request.path.rpartition("/")[2]
        return web.json_response({"metadata": {"name": name, "resourceVersion": "1"}})


@pytest.fixture
async def slow():
    return Slow()


@pytest.fixture
async def url(slow):
    app = web.Application()
    app.router.add_get("/{path:.*}", slow.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_burst_takes_few_connections_and_a_lease_waits_for_none(slow, url):
    async with Client(ClientConfig(url), at_once=3) as client:
        many = [client.get(CONFIG_MAP, "default", f"c{number}") for number in range(20)]
        burst = asyncio.gather(*many)
        async with asyncio.timeout(5):
            await slow.three.wait()
            assert (await client.get(LEASE, "default", "mine")).metadata.name == "mine"
            async with client.watch(CONFIG_MAP):
                assert not burst.done()
            slow.go.set()
            found = await burst
    assert [it.metadata.name for it in found] == [f"c{number}" for number in range(20)]
    assert slow.most == 3 and len(slow.connections) <= 4  # the Lease's connection is used, too


async def test_a_request_that_is_given_up_makes_room(slow, url):
    async with Client(ClientConfig(url), at_once=1) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(CONFIG_MAP, "default", "a"), 0.1)
        slow.go.set()
        assert (await client.get(CONFIG_MAP, "default", "b")).metadata.name == "b"
