"""Memory is bounded by bytes, and many objects keep nobody waiting: counted, not timed."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api.kinds import CONFIG_MAP
from control.server.access.door import Visit
from control.server.http.send import send
from control.server.state.budget import FREE, BodyBudget, BusyError
from control.server.state.watch_cache import RING_BYTES, KindCache, ObjectChange
from control.server.verbs.read import ObjectListing
from control.server.verbs.render import list_pieces, list_size
from control.server.verbs.watch import _QUEUE_BYTES, _Queue
from control.server.wire.accept import Representation
from control.server.wire.info import storage_key
from control.server.wire.item import encode_object, stamp
from control.store.base import StoreEvent
from control.store.recent import KEEP_BYTES, RecentCommits
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import until
from tests.support.control.loop_work import counted_steps
from tests.support.control.requests import CORE, Api, config_map

MAPS = f"{CORE}/configmaps"
MEGABYTE = "x" * 1_000_000
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
MANY = 3000
MOST_CALLS = 20_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def encoded(name: str, text: str = "v") -> bytes:
    wire = {"kind": "ConfigMap", "apiVersion": "v1"} | config_map(name, k=text)
    wire["metadata"] |= {"namespace": "default", "uid": name, "labels": {"app": name}}
    wire["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    return encode_object(wire)


def key(name: str) -> str:
    return storage_key(CONFIG_MAP, "default", name)


def test_recent_commits_are_kept_by_bytes():
    recent = RecentCommits(0)
    for revision in range(1, 301):
        recent.append((StoreEvent("/a", revision, encoded("a", MEGABYTE)),))
    kept = recent.after(300 - KEEP_BYTES // 1_000_200)
    assert kept is not None and 10 < len(kept) <= 16
    assert recent.after(300 - 17) is None and recent.after(300) == []


def test_a_kinds_changes_are_kept_by_bytes():
    cache = KindCache(CONFIG_MAP, 0)
    for revision in range(1, 301):
        cache.apply(StoreEvent(key("a"), revision, encoded("a", MEGABYTE)))
    kept = cache.changes(cache.floor)
    assert kept is not None and sum(len(it.item.raw) for it in kept) <= RING_BYTES
    assert 280 <= cache.floor < 300 and cache.changes(cache.floor - 1) is None


async def test_a_watchers_queue_is_bounded_by_bytes():
    cut: list[int] = []
    queue = _Queue(lambda: cut.append(1))
    item = stamp(key("a"), encoded("a", MEGABYTE), 1)
    for _ in range(_QUEUE_BYTES // len(item.raw)):
        queue.offer(ObjectChange(item))
    assert not cut
    assert len(await queue.take()) == _QUEUE_BYTES // len(item.raw)
    for _ in range(_QUEUE_BYTES // len(item.raw) + 1):
        queue.offer(ObjectChange(item))
    assert cut and queue.ended


def test_bodies_are_counted_by_user_and_in_all():
    budget = BodyBudget(total=100, share=60, free=10)
    with budget.holding("a") as one, budget.holding("a") as two, budget.holding("b") as other:
        one.grow(5)
        one.grow(5)
        assert budget.held == 0  # a small body is always taken
        one.grow(60)
        assert budget.held == 60
        with pytest.raises(BusyError):
            two.grow(11)
        other.grow(50)
        assert budget.held == 100
        with budget.holding("c") as late, pytest.raises(BusyError):
            late.grow(11)
        with budget.holding("admin", is_master=True) as admin:
            admin.grow(70)
            assert budget.held == 160
            with pytest.raises(BusyError):
                admin.grow(1)
    assert budget.held == 0 and not budget._held


async def test_bodies_in_flight_are_bounded_by_bytes(api: Api, api_server: ApiServer):
    budget = BodyBudget(total=4_000_000, share=2_000_000)
    object.__setattr__(api_server.state, "bodies", budget)
    writers = []
    for _ in range(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port)
        head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
        writer.write(head.encode() + b" " * 299_999)  # they wait for their last byte
        writers.append((reader, writer))
    refused = asyncio.as_completed([reader.readuntil(b"\r\n\r\n") for reader, _ in writers])
    for _, answer in zip(range(33), refused, strict=False):
        head = await answer
        assert head.startswith(b"HTTP/1.1 429 ") and b"\r\nRetry-After: 1\r\n" in head
    # Seven have room; beyond the first 16 KiB of each all their bytes arrive.
    await until(lambda: budget.held == 7 * (299_999 - FREE))
    assert (await api("POST", MAPS, config_map("small", k="v" * 10_000))).code == 201
    large = config_map("large", k="v" * 500_000)
    async with api.session.post(MAPS, json=large) as busy:
        assert (busy.status, busy.headers["Retry-After"]) == (429, "1")
        assert await busy.text() == "Too many requests, please try again later.\n"
    for _, writer in writers:
        writer.transport.abort()
    await until(lambda: not budget.held)
    assert (await api("POST", MAPS, large)).code == 201


class Slow:
    """A response whose client reads nothing."""

    def __init__(self) -> None:
        self.written = 0

    async def write(self, data: bytes | memoryview) -> None:
        self.written += len(data)
        await asyncio.Event().wait()


async def test_a_client_that_does_not_read_holds_one_piece():
    response, made = Slow(), []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"y" * 10_000

    for source in (pieces(), iter([MEGABYTE.encode()])):
        task = asyncio.create_task(send(response, source))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert response.written <= 3 * 32 * 1024
    assert len(made) <= 5


def test_a_list_joins_small_objects_and_copies_no_large_one():
    items = [stamp(f"k{n}", encoded(f"m{n}", text), 1) for n, text in enumerate(["v"] * 2000)]
    items.insert(1000, stamp("large", encoded("large", MEGABYTE), 1))
    pieces = list(list_pieces(Representation(), ObjectListing(CONFIG_MAP, items, 1), NOW))
    assert any(piece is items[1000].body for piece in pieces)
    small = [len(piece) for piece in pieces if piece is not items[1000].body]
    assert max(small) <= 64 * 1024
    assert len(pieces) < 30
    kind = {"kind": "ConfigMap", "apiVersion": "v1"}  # which a list says once
    found = orjson.loads(b"".join(pieces))["items"]
    assert [kind | item for item in found] == [orjson.loads(item.raw) for item in items]
    assert not any("kind" in item or "apiVersion" in item for item in found)


@given(
    st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=30), st.integers(0, 99999)
)
@settings(max_examples=60, deadline=None)
def test_a_list_knows_its_size_before(sizes: list[tuple[int, bool]], revision: int):
    """Of small and large objects, and of some whose kind stands elsewhere than we write it."""
    items = []
    for number, (size, foreign) in enumerate(sizes):
        text = encoded(f"m{number}", "v" * size)
        if foreign:
            wire = orjson.loads(text)
            text = orjson.dumps({"metadata": wire.pop("metadata")} | wire)
        items.append(stamp(f"k{number}", text, revision))
    listing = ObjectListing(CONFIG_MAP, items, revision)
    body = b"".join(list_pieces(Representation(), listing, NOW))
    assert list_size(Representation(), listing) == len(body)
    names = [item["metadata"]["name"] for item in orjson.loads(body)["items"]]
    assert names == [f"m{number}" for number in range(len(sizes))]


async def test_a_long_list_is_sent_with_its_size(api: Api, api_server: ApiServer):
    for number in range(3):
        await api.make(MAPS, config_map(f"m{number}", k=MEGABYTE))
    identity = {"Accept-Encoding": "identity"}
    async with api.session.get(MAPS, headers=identity) as answer:
        assert int(answer.headers["Content-Length"]) == len(await answer.read()) > 3_000_000


@pytest.mark.parametrize("query", ["", "?watch=1"])
async def test_clients_that_do_not_read_hold_little(api: Api, api_server: ApiServer, query: str):
    for number in range(8):
        await api.make(MAPS, config_map(f"m{number}", k=MEGABYTE))
    writers = []
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", api_server.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET {MAPS}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        writers.append(writer)
    for _ in range(50):
        assert (await api("GET", "/healthz")).code == 200
    held = [
        visit._transport.get_write_buffer_size()
        for visit in gc.get_objects()
        if isinstance(visit, Visit) and visit._transport and not visit._transport.is_closing()
    ]
    assert max(held) > 0  # they do not read
    assert max(held) <= 256 * 1024
    for writer in writers:
        writer.transport.abort()


@pytest.fixture
async def many(api: Api) -> AsyncIterator[Api]:
    """A server whose cache has many objects."""
    await api.state.cache.fresh()
    cache = api.state.cache.of(CONFIG_MAP)
    for number in range(MANY):
        name = f"m{number:05}"
        cache.put(stamp(key(name), encoded(name), 1))
    yield api


@pytest.mark.parametrize(
    ("query", "accept", "count"),
    [
        ("", "application/json", MANY),
        ("", TABLE, MANY),
        ("", METADATA, MANY),
        ("labelSelector=app=m00007", "application/json", 1),
        ("labelSelector=none", TABLE, 0),
        ("fieldSelector=metadata.namespace!=default", "application/json", 0),
        ("limit=5&labelSelector=app", "application/json", 5),
    ],
)
async def test_a_large_list_makes_no_long_step(
    many: Api, query: str, accept: str, count: int, monkeypatch: pytest.MonkeyPatch
):
    with counted_steps(monkeypatch) as work:
        reply = await many("GET", f"{MAPS}?{query}", Accept=accept)
    assert reply.code == 200
    found = reply.body["rows" if accept == TABLE else "items"]
    assert len(found) == count
    assert work.most <= MOST_CALLS, work


async def test_a_large_watch_makes_no_long_step(
    many: Api, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    path = f"{MAPS}?watch=1&labelSelector=app"
    with counted_steps(monkeypatch) as work:
        async with many.session.get(path) as answer:
            lines = [json.loads(await answer.content.readline()) for _ in range(MANY)]
    names = [line["object"]["metadata"]["name"] for line in lines]
    assert names == [f"m{number:05}" for number in range(MANY)]
    assert work.most <= MOST_CALLS, work


async def test_a_selector_that_matches_nothing_reads_the_store_in_strides(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        await api.make(MAPS, config_map(f"m{number}"))
    revision = (await api("GET", MAPS))["metadata"]["resourceVersion"]
    pages: list[int] = []
    read = api.state.store.list

    async def counting(prefix: str, **given: int) -> object:
        pages.append(given["limit"])
        return await read(prefix, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(api.state.store, "list", counting)
    exact = f"{MAPS}?resourceVersionMatch=Exact&resourceVersion={revision}&limit=1"
    assert (await api("GET", f"{exact}&labelSelector=none"))["items"] == []
    assert pages == [500]
    pages.clear()
    assert len((await api("GET", exact))["items"]) == 1
    assert pages == [1]
