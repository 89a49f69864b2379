"""Health check node ports: their counts, and the addresses they listen at."""

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address, ip_network

import aiohttp
import pytest
from msgspec.structs import replace

from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.settings import ProxySettings
from proxy.model.values import Endpoint, Port, Protocol, Service, Slice, Target
from proxy.status import service_health
from proxy.status.health import ProxyHealth
from proxy.status.service_health import (
    EVERYWHERE,
    LocalEndpointCount,
    ServiceHealth,
    count,
    hosts_of,
)
from proxy.status.web import listening
from tests.support.proxy.strategies import NODE, SETTINGS
from tests.support.proxy.told import Told

KEY = ("ns", "web")
LOCAL = "127.0.0.1"


def state(port: int, *pods: str) -> Desired:
    """Return a state with a Service that has a health check port and local endpoints."""
    tracker = Tracker(NODE, SETTINGS.families)
    vips = (ip_address("10.96.0.1"), ip_address("fd00:10:96::1"))
    service = Service(KEY, (Port("", Protocol.TCP, 80),), vips, external_local=True)
    tracker.set_service(KEY, replace(service, health_check_port=port))
    endpoints = tuple(Endpoint(Target.of(ip_address(pod), 80), local=True) for pod in pods)
    tracker.set_slice(KEY, Slice(KEY, {("", Protocol.TCP): endpoints}))
    return tracker.desired()


def test_a_pod_of_both_families_is_one_endpoint() -> None:
    both = state(31000, "10.244.0.1", "fd00:10:244::1", "10.244.0.2")
    assert count(KEY, both[KEY]) == (31000, LocalEndpointCount(KEY, 2))
    assert count(KEY, state(31000)[KEY]) == (31000, LocalEndpointCount(KEY, 0))
    assert count(KEY, state(0, "10.244.0.1")[KEY]) is None


def test_it_listens_where_node_ports_are_served() -> None:
    assert hosts_of(ProxySettings()) is EVERYWHERE
    here, elsewhere, v6 = map(ip_network, ("127.0.0.0/8", "192.0.2.0/24", "2001:db8::/64"))
    assert hosts_of(ProxySettings(node_port_networks=(here, v6))) == [LOCAL]
    assert hosts_of(ProxySettings(node_port_networks=(elsewhere, v6))) == []


async def asked(port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOCAL}:{port}/") as answer,
    ):
        return answer.status, answer.headers["X-Load-Balancing-Endpoint-Weight"]


async def test_a_taken_port_is_served_when_it_is_free(monkeypatch) -> None:
    monkeypatch.setattr(service_health, "_AGAIN", 0.01)
    health, told = ProxyHealth(lambda: 1.0), Told()
    health.updated()
    checks = ServiceHealth(health, told, [LOCAL])
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        await checks.update(state(port, "10.244.0.1"))
        await checks.update(state(port, "10.244.0.1", "10.244.0.2"))
        ((key, _, reason, message),) = told.services
        assert (key, reason) == (KEY, "FailedToStartServiceHealthcheck")
        assert f"port {port}" in message
    async with asyncio.timeout(20):
        while True:
            try:
                assert await asked(port) == (200, "2")
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)
    await checks.close()
    assert len(told.services) == 1


async def serving() -> tuple[ServiceHealth, int]:
    """Return what serves a health check port, and the port."""
    with socket.create_server((LOCAL, 0)) as free:
        port = free.getsockname()[1]
    health = ProxyHealth(lambda: 0.0)
    health.updated()
    served = ServiceHealth(health, Told(), [LOCAL])
    await served.update(state(port, "10.244.0.1"))
    return served, port


@pytest.mark.parametrize("turns", range(10))  # of the loop, in which it accepts and reads
@pytest.mark.parametrize(
    "said", [b"", b"GET /", b"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\n"]
)
async def test_a_port_that_is_closed_keeps_nobody_waiting(said: bytes, turns: int) -> None:
    """Neither who has connected, nor the proxy, which closes it between two changes of rules."""
    served, port = await serving()
    with socket.create_connection((LOCAL, port)) as asker:
        asker.sendall(said)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):  # aiohttp would wait 10 s for a body, 60 s for the rest
            await served.update(Desired())
            asker.setblocking(False)
            await _until_closed(asker)
    await served.close()


async def test_a_port_whose_service_has_gone_says_that_it_has_no_endpoints(monkeypatch) -> None:
    """Until it is closed: a balancer that asks in between is told something, not error 500."""
    served, port = await serving()
    async with asyncio.timeout(20), aiohttp.ClientSession() as asker:
        with monkeypatch.context() as slow:
            slow.setattr(served, "_listen", lambda: asyncio.sleep(0))
            await served.update(Desired())
        async with asker.get(f"http://{LOCAL}:{port}/") as answer:
            assert answer.status == 503
            assert await answer.json() == {"localEndpoints": 0, "serviceProxyHealthy": True}
    await served.close()


@pytest.mark.parametrize("turns", range(4))
async def test_a_port_is_free_again_whenever_its_end_is_cancelled(turns: int) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    with socket.create_server((LOCAL, 0)) as free:
        port = free.getsockname()[1]

    async def listen() -> None:
        async with listening({}, [LOCAL], port):
            begun.set()
            await end.wait()

    task = asyncio.create_task(listen())
    await begun.wait()
    end.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    socket.create_server((LOCAL, port)).close()


async def _until_closed(asker: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while await asyncio.get_running_loop().sock_recv(asker, 1000):
            pass


async def test_every_path_and_method_has_the_same_answer() -> None:
    served, port = await serving()
    async with aiohttp.ClientSession() as session:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            for path in ("", "/", "/healthz", "/healthz/", "/a/b%20c?d=e"):
                async with session.request(method, f"http://{LOCAL}:{port}{path}") as answer:
                    weight = answer.headers["X-Load-Balancing-Endpoint-Weight"]
                    assert (answer.status, weight) == (200, "1"), (method, path)
    await served.close()
