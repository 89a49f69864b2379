"""A client counts its requests by client-go's names."""

import asyncio
from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control.api import kinds
from control.client import ApiError, Client, ClientConfig, UnreachableError, sender
from control.client.measured import RequestMetrics
from control.controllers.queue import WorkQueue
from control.controllers.queue_metrics import QueueMetrics
from control.metrics import Registry
from control.server.wire.exposition import samples


def read(registry: Registry) -> Mapping[tuple[str, ...], float]:
    return {(it.name, *it.labels.values()): it.value for it in samples(registry.own_text())}


async def test_requests_answers_retries_and_outages_are_counted(monkeypatch):
    monkeypatch.setattr(sender, "_LONGEST_PAUSE", 0.01)
    codes = [503, 200, 404]

    async def answer(_: web.Request) -> web.Response:
        code = codes.pop(0)
        after = {"Retry-After": "1"} if code == 503 else {}
        status = {"kind": "Status", "reason": "", "message": "m", "code": code}
        return web.json_response(status if code != 200 else {}, status=code, headers=after)

    registry = Registry()
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        host = f"127.0.0.1:{server.port}"
        client = Client(ClientConfig(f"http://{host}"), RequestMetrics(registry))
        async with client:
            assert await client.raw("/x") == b"{}"
            with pytest.raises(ApiError):
                await client.raw("/y")
            await server.close()
            with pytest.raises(UnreachableError):
                await client.delete(kinds.POD, "default", "p")
    registry.reset()  # a new leader begins, and the process's requests stay counted
    found = read(registry)
    total = {key[1:3]: value for key, value in found.items() if "requests_total" in key[0]}
    assert total == {
        ("503", "GET"): 1,
        ("200", "GET"): 1,
        ("404", "GET"): 1,
        ("<error>", "DELETE"): 1,
    }
    assert found["rest_client_request_retries_total", "503", "GET", host] == 1
    assert found["rest_client_request_duration_seconds_count", "GET", host] == 2
    assert found["rest_client_response_size_bytes_sum", "GET", host] == 2
    assert found["rest_client_request_size_bytes_count", "GET", host] == 3
    assert found["rest_client_request_size_bytes_sum", "DELETE", host] > 2


async def test_a_queue_tells_who_waits_and_who_works():
    registry, queue = Registry(), WorkQueue[str]()
    QueueMetrics(registry, {"q": queue}).follow("q", queue)
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    await asyncio.sleep(0.002)
    found = read(registry)
    assert found["workqueue_queue_duration_seconds_count", "q"] == 1
    assert found["workqueue_longest_running_processor_seconds", "q"] >= 0.002
    assert found["workqueue_unfinished_work_seconds", "q"] >= 0.002
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    found = read(registry)
    assert found["workqueue_queue_duration_seconds_sum", "q"] >= 0.002  # it waited while worked on
    assert found["workqueue_longest_running_processor_seconds", "q"] == 0
    assert (found["workqueue_depth", "q"], found["workqueue_adds_total", "q"]) == (0, 2)
