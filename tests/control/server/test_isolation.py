"""One request keeps no other waiting: hostile bodies on each route and content type.

A second client asks /healthz all the time. No wall time: the calls of each step of the server's
event loop are counted, and its answers come before that of the hostile request.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.control.api_server import ApiServer
from tests.support.control.loop_work import counted_steps
from tests.support.control.requests import (
    APPS,
    CORE,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    pod,
    service,
)

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
# Some 50 ms. One Pod of 2,000 containers takes 300,000 calls.
MOST_CALLS = 20_000
MANY = 2000


def joined(items: list[bytes], begin: bytes, end: bytes) -> bytes:
    return begin + b",".join(items) + end


def field(number: int, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def protobuf_pod(containers: int) -> bytes:
    spec = b"".join(field(2, field(1, b"c%d" % n)) for n in range(containers))
    kind = field(1, b"v1") + field(2, b"Pod")
    return b"k8s\0" + field(1, kind) + field(2, field(1, field(1, b"big")) + field(2, spec))


HEAD = b'{"metadata":{"name":"h"},"spec":{"containers":['
BODIES = {
    "objects": joined([b"{}"] * MANY, HEAD, b"]}}"),
    "containers": joined([b'{"name":"c%d","image":"x"}' % n for n in range(MANY)], HEAD, b"]}}"),
    "lists": joined([b"[]"] * 20_000, b'{"metadata":{"name":"h"},"x":[', b"]}"),
    "members": joined(
        [b'"k1":"w"', *(b'"k%d":"v"' % n for n in range(MANY))],
        b'{"metadata":{"name":"h"},"data":{',
        b"}}",
    ),
    "owners": joined(
        [b'{"uid":"%d"}' % n for n in range(MANY)], b'{"metadata":{"ownerReferences":[', b"]}}"
    ),
    "nulls": joined([b'"k%d":null' % n for n in range(20_000)], b'{"data":{', b"}}"),
    "text": b'{"metadata":{"name":"h"},"data":{"a":"' + b"x" * 1_000_000 + b'"}}',
    "nested": b'{"a":' * 90 + joined([b"[]"] * MANY, b"[", b"]") + b"}" * 90,
}
OPERATIONS = {
    "adds": [{"op": "add", "path": f"/metadata/{n}", "value": {}} for n in range(MANY)],
    "copies": [{"op": "copy", "from": "", "path": f"/x{n}"} for n in range(MANY)],
    "tests": [{"op": "test", "path": "/kind", "value": "ConfigMap"} for _ in range(MANY)],
    "moves": [{"op": "move", "from": "/metadata", "path": "/metadata"} for _ in range(MANY)],
}
REVIEWS = "/apis/authorization.k8s.io/v1"
ROUTES = [
    ("POST", f"{CORE}/configmaps", JSON),
    ("POST", f"{CORE}/pods", JSON),
    ("PUT", f"{CORE}/configmaps/a", JSON),
    ("PUT", f"{CORE}/pods/p/status", JSON),
    ("PATCH", f"{CORE}/configmaps/a", MERGE),
    ("PATCH", f"{CORE}/pods/p", STRATEGIC),
    ("PATCH", f"{CORE}/services/s/status", STRATEGIC),
    ("PATCH", f"{APPS}/deployments/d/scale", MERGE),
    ("PUT", f"{APPS}/deployments/d/scale", JSON),
    ("POST", f"{CORE}/pods/p/binding", JSON),
    ("POST", f"{CORE}/bindings", JSON),
    ("POST", f"{CORE}/pods/p/eviction", JSON),
    ("PUT", "/api/v1/namespaces/default/finalize", JSON),
    ("DELETE", f"{CORE}/configmaps/none", JSON),
    ("DELETE", f"{CORE}/secrets", JSON),
    ("POST", f"{REVIEWS}/subjectaccessreviews", JSON),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", JSON),
    ("POST", f"{CORE}/configmaps", "text/plain"),
    ("POST", f"{CORE}/pods", PROTOBUF),
]


@pytest.fixture
async def objects(api: Api) -> Api:
    """A server with an object on each route."""
    await api.make(f"{CORE}/configmaps", config_map())
    await api.make(f"{CORE}/pods", pod())
    await api.make(f"{CORE}/services", service())
    await api.make(f"{APPS}/deployments", deployment())
    return api


@asynccontextmanager
async def second_client(server: ApiServer) -> AsyncIterator[list[int]]:
    """Ask /healthz all the time on one connection of its own; yield the list of answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answers: list[int] = []

    async def ask() -> None:
        while True:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            answers.append(int(head.split()[1]))
            assert await reader.readexactly(2) == b"ok"
            await asyncio.sleep(0.002)

    task = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()
    assert set(answers) <= {200}


async def test_no_hostile_body_makes_a_long_step(
    objects: Api, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    async with second_client(api_server) as answers:
        for method, path, media in ROUTES:
            bodies = BODIES | ({"pod": protobuf_pod(MANY)} if media == PROTOBUF else {})
            for name, body in bodies.items():
                with counted_steps(monkeypatch) as work:
                    reply = await objects(method, path, body, media)
                assert work.most <= MOST_CALLS, (method, path, media, name, work)
                # 500 is only etcd's word for an object that is too large.
                known = reply.code < 500 or "request is too large" in reply["message"]
                assert known, (method, path, media, name, reply)
    assert answers


async def test_no_json_patch_makes_a_long_step(objects: Api, monkeypatch: pytest.MonkeyPatch):
    for name, patch in OPERATIONS.items():
        for path in (
            f"{CORE}/configmaps/a",
            f"{CORE}/pods/p/status",
            f"{APPS}/deployments/d/scale",
        ):
            with counted_steps(monkeypatch) as work:
                reply = await objects("PATCH", path, patch, JSON_PATCH)
            assert reply.code < 500, (name, path, reply)
            assert work.most <= MOST_CALLS, (name, path, work)


@pytest.mark.parametrize("media", [JSON, PROTOBUF])
async def test_the_second_client_is_answered_before_a_large_pod(
    objects: Api, api_server: ApiServer, media: str
):
    body = BODIES["containers"] if media == JSON else protobuf_pod(MANY)
    async with second_client(api_server) as answers:
        large = asyncio.create_task(objects("POST", f"{CORE}/pods", body, media))
        while not large.done():
            seen = len(answers)
            await asyncio.sleep(0.001)
        assert seen >= 5  # while the worker computed
        assert (await large).code in (201, 422)


async def test_a_small_patch_of_a_large_object_is_computed_elsewhere(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    await api.make(f"{CORE}/configmaps", config_map("big", **{f"k{n}": "v" for n in range(9000)}))
    for media, body in (
        (MERGE, {"data": {"k1": "w"}}),
        (STRATEGIC, {"data": {"k1": "x"}}),
        (JSON_PATCH, [{"op": "replace", "path": "/data/k1", "value": "y"}]),
    ):
        with counted_steps(monkeypatch) as work:
            reply = await api("PATCH", f"{CORE}/configmaps/big", body, media)
        assert reply.code == 200
        assert work.most <= 2000, work
    assert reply["data"]["k1"] == "y"


async def test_a_large_service_gets_its_addresses(api: Api):
    ports = [{"name": f"p{n}", "port": n + 1} for n in range(300)]
    made = await api.make(f"{CORE}/services", service("many", type="NodePort", ports=ports))
    numbers = {port["nodePort"] for port in made["spec"]["ports"]}
    assert len(numbers) == 300 and made["spec"]["clusterIP"].startswith("10.96.")
    await api.state.cache.fresh()
    assert {f"/claims/port/{number}" for number in numbers} <= api.state.cache.claims
    other = service("other", type="NodePort", ports=[{"port": 80, "nodePort": min(numbers)}])
    assert (await api("POST", f"{CORE}/services", other)).code == 422


async def test_a_large_object_needs_its_namespace(api: Api):
    reply = await api("POST", "/api/v1/namespaces/none/configmaps", BODIES["members"])
    assert reply.code == 404
    assert reply["message"] == 'namespaces "none" not found'


async def test_a_large_object_has_warnings_and_dry_runs(api: Api):
    body = json.loads(BODIES["members"]) | {"unknown": 1}
    path = f"{CORE}/configmaps?dryRun=All"
    reply = await api("POST", path, body)
    assert (reply.code, len(reply["data"])) == (201, MANY)
    assert "unknown field" in reply.warnings[0]
    assert (await api("GET", f"{CORE}/configmaps/h")).code == 404
    twice = await api("POST", f"{path}&fieldValidation=Strict", BODIES["members"])
    assert twice.code == 400 and 'duplicate field "data.k1"' in twice["message"]


async def test_the_result_of_a_write_is_limited_as_by_etcd(api: Api):
    path = f"{CORE}/configmaps"
    large = {"metadata": {"name": "l", "annotations": {}}, "binaryData": {}, "x": "y" * 1_600_000}
    reply = await api("POST", path, large)
    # Upstream passes etcd's error on without a reason, and with this code.
    assert (reply.code, reply["message"]) == (500, "etcdserver: request is too large")
    assert "reason" not in reply.body
    fits = large | {"x": "y" * 1_500_000}
    await api.make(path, fits)
    grows = [{"op": "copy", "from": "/x", "path": "/z"}]
    assert (await api("PATCH", f"{path}/l", grows, JSON_PATCH)).code == 500
    assert (await api("GET", f"{path}/l")).code == 200


async def test_a_body_may_not_have_too_many_parts(api: Api):
    body = joined([b"[]"] * 100_001, b'{"metadata":{"name":"a"},"x":[', b"]}")
    reply = await api("POST", f"{CORE}/configmaps", body)
    assert reply.code == 413 and "100000 objects and lists" in reply["message"]
    proto = (
        b"k8s\0"
        + field(1, field(1, b"v1") + field(2, b"Pod"))
        + field(2, field(1, field(1, b"big")) + field(2, b"\x12\x00" * 100_001))
    )
    reply = await api("POST", f"{CORE}/pods", proto, PROTOBUF)
    assert reply.code == 413 and "100000 items of containers" in reply["message"]


async def test_a_cancelled_request_ends_its_process(api: Api, api_server: ApiServer):
    before = children()  # those of a test before may still be ending
    large = asyncio.create_task(api("POST", f"{CORE}/pods", BODIES["containers"]))
    while not children() - before:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    while children() - before:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert (await api("POST", f"{CORE}/configmaps", BODIES["members"])).code == 201
    assert len(children() - before) == 1


async def test_a_worker_that_dies_fails_one_request(api: Api):
    before = children()
    await api.make(f"{CORE}/configmaps", json.loads(BODIES["members"]))
    (worker,) = children() - before
    large = asyncio.create_task(api("POST", f"{CORE}/pods", BODIES["containers"]))
    os.kill(worker, signal.SIGKILL)
    assert (await large).code == 500
    assert (await api("POST", f"{CORE}/pods", BODIES["containers"])).code in (201, 422)


def children() -> set[int]:
    found: set[int] = set()
    for children_of in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            found |= set(map(int, children_of.read_text().split()))
    return found
