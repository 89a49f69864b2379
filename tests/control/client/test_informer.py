"""Informers against scripted servers: the snapshot always ends equal to the server's state."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest
from aiohttp import web

from control.api import kinds
from control.api.cluster import ConfigMap
from control.client import Client, ClientConfig, Informer
from control.client.backoff import Backoff
from control.client.sender import ClientRequest
from tests.support.control.cluster import until


def wire(name: str, version: int, uid: str | None = None, **more) -> dict:
    meta = {"name": name, "namespace": "n", "uid": uid or name, "resourceVersion": str(version)}
    return {"metadata": meta} | more


def line(verb: str, item: dict) -> bytes:
    return orjson.dumps({"type": verb, "object": item}) + b"\n"


def listing(version: int, *items: dict, more: str = "") -> web.Response:
    """Return a list, or a page of it if ``more`` is the next token."""
    meta = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
    return web.json_response({"kind": "ConfigMapList", "metadata": meta, "items": list(items)})


class Script:
    """A server with a script: each list and each watch gets its next step."""

    def __init__(self) -> None:
        self.lists: list[web.StreamResponse | Callable[[], web.StreamResponse]] = []
        self.watches: list[tuple[bytes, ...]] = []
        self.resumed: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.hold = asyncio.Event()
        self.free = asyncio.Event()  # lists wait for it
        self.free.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.asked.append(dict(request.query))
            await self.free.wait()
            step = self.lists.pop(0)
            return step() if callable(step) else step
        self.resumed.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in self.watches.pop(0) if self.watches else ():
            await response.write(chunk)
            await asyncio.sleep(0)
        if not self.watches:
            await self.hold.wait()
        return response


@asynccontextmanager
async def served(script: Script, port: int = 0) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/api/v1/configmaps", script.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        script.hold.set()
        await runner.cleanup()


@pytest.fixture
async def script() -> Script:
    return Script()


@asynccontextmanager
async def following(port: int, **options) -> AsyncIterator[Informer]:
    async with Client(ClientConfig(f"http://127.0.0.1:{port}")) as client:
        backoff = Backoff(0.001, 0.01)
        informer = Informer(client, kinds.CONFIG_MAP, backoff=backoff, **options)
        task = asyncio.create_task(informer.run())
        try:
            yield informer
        finally:
            task.cancel()
            await asyncio.wait({task})


def names(informer: Informer) -> str:
    return "".join(sorted(name for _, name in informer.snapshot()))


async def test_list_then_watch(script):
    script.lists = [listing(5, wire("a", 3))]
    script.watches = [(line("ADDED", wire("b", 6)), line("DELETED", wire("a", 7)))]
    async with served(script) as port, following(port) as informer:
        await until(lambda: informer.resource_version == "7")
        assert informer.synced.is_set() and names(informer) == "b"
        assert script.resumed[0] == "5"


async def test_a_broken_watch_resumes_without_loss(script):
    halves = line("ADDED", wire("b", 6))
    script.lists = [listing(5, wire("a", 3))]
    script.watches = [
        (halves[:20],),  # cut in the middle of an event
        (halves[:9], halves[9:], line("BOOKMARK", wire("", 8))),
        (line("ADDED", wire("b", 6)), line("ADDED", wire("c", 9))),  # one of them again
    ]
    seen = []
    async with served(script) as port, following(port) as informer:
        informer.subscribe(lambda old, new: seen.append((old and old.key[1], new and new.key[1])))
        await until(lambda: informer.resource_version == "9")
        assert script.resumed[:3] == ["5", "5", "8"]
        assert names(informer) == "abc"
        assert seen == [(None, "a"), (None, "b"), (None, "c")]


async def test_an_expired_watch_lists_again_and_reports_the_changes(script):
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    script.lists = [
        listing(5, wire("a", 3), wire("b", 4)),
        listing(20, wire("b", 4), wire("c", 15)),
    ]
    script.watches = [(line("ERROR", gone),), ()]
    seen = []
    async with served(script) as port, following(port) as informer:
        informer.subscribe(lambda old, new: seen.append((old and old.key[1], new and new.key[1])))
        await until(lambda: informer.resource_version == "20")
        assert seen == [(None, "a"), (None, "b"), ("a", None), (None, "c")]


async def test_http_410_means_list_again(script):
    script.lists = [
        web.json_response({"kind": "Status", "code": 410, "reason": "Gone"}, status=410),
        listing(5, wire("a", 3)),
    ]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "a")


@pytest.mark.parametrize(
    "garbage",
    [b"garbage\n", b"{}\n", b'{"type":"ADDED"}\n', b"\xff\xfe\n", b'{"type":"X","object":1}\n'],
)
async def test_garbage_ends_the_watch_not_the_informer(script, garbage):
    script.lists = [listing(5)]
    script.watches = [
        (line("ADDED", wire("a", 6)), garbage, line("ADDED", wire("lost", 7))),
        (line("ADDED", wire("b", 7)),),
    ]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "ab")
        assert script.resumed[1] == "6"


async def test_an_unreadable_object_is_skipped(script, caplog):
    bad = wire("bad", 3, data=["not", "a", "mapping"])
    script.lists = [listing(5, bad, wire("a", 4))]
    script.watches = [(line("MODIFIED", wire("a", 6, data=7)), line("ADDED", wire("b", 7)))]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "ab")
        assert "ConfigMap n/bad: data" in caplog.text and "ConfigMap n/a: data" in caplog.text


async def test_a_silent_watch_is_resumed_without_a_warning(script, caplog):
    """A kube-apiserver may say nothing for ten minutes of a kind that nobody changes."""
    script.lists = [listing(5)]
    script.watches = [(line("ADDED", wire("a", 6)),)]
    async with served(script) as port, following(port, silence_seconds=0.5) as informer:
        await until(lambda: len(script.resumed) >= 3)
        assert names(informer) == "a" and set(script.resumed[1:]) == {"6"}
    assert "trying again" not in caplog.text


async def test_a_client_waits_for_an_unreachable_server(script):
    script.lists = [listing(5, wire("a", 3))]
    async with served(script) as port:
        pass  # the port of a closed server
    async with following(port) as informer:
        await asyncio.sleep(0.05)
        assert not informer.synced.is_set()
        fresh = Script()
        fresh.lists = [listing(5, wire("a", 3))]
        async with served(fresh, port):
            await until(lambda: names(informer) == "a")


async def test_watches_resume_after_a_restart_and_the_outage_is_logged(script):
    recoveries = []
    script.lists = [listing(5, wire("a", 3))]
    async with served(script) as port:
        context = following(port, on_recovery=lambda: recoveries.append(1))
        informer = await context.__aenter__()
        await until(lambda: names(informer) == "a")
    await asyncio.sleep(0.05)
    fresh = Script()
    fresh.watches = [(line("ADDED", wire("b", 6)),)]
    async with served(fresh, port):
        await until(lambda: names(informer) == "ab")
        assert fresh.resumed[0] == "5" and recoveries == [1]
        await context.__aexit__(None, None, None)


async def test_a_server_error_is_retried(script):
    script.lists = [web.Response(status=500, text="boom"), listing(5, wire("a", 3))]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "a")


async def test_a_failing_subscriber_does_not_stop_the_others(script, caplog):
    script.lists = [listing(5, wire("a", 3))]
    seen = []

    def fails(old, new):
        raise RuntimeError("mine")

    async with served(script) as port, following(port) as informer:
        informer.subscribe(fails)
        stop = informer.subscribe(lambda old, new: seen.append(new))
        await until(lambda: len(seen) == 1)
        stop()
    assert "mine" in caplog.text


async def test_very_long_lines_are_read(script):
    script.lists = [listing(5)]
    script.watches = [(line("ADDED", wire("a", 6, data={"x": "y" * 2_000_000})),)]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "a")


async def test_a_long_list_comes_in_pages(script):
    script.lists = [listing(5, wire("a", 3), more="x"), listing(5, wire("b", 4))]
    script.watches = [(line("ADDED", wire("c", 6)),)]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "abc")
        assert script.asked == [{"limit": "500"}, {"limit": "500", "continue": "x"}]
        assert script.resumed[0] == "5"


async def test_a_page_is_reported_before_the_list_ends(script):
    def first() -> web.Response:
        script.free.clear()
        return listing(5, wire("a", 3), more="x")

    seen: list[tuple[ConfigMap | None, str]] = []
    script.lists = [first, listing(5, wire("b", 4))]
    async with served(script) as port, following(port, by_page=True) as informer:
        informer.subscribe(lambda old, new: seen.append((old, new.metadata.name)))
        await until(lambda: bool(seen))
        assert seen == [(None, "a")]
        assert not informer.synced.is_set()
        script.free.set()
        await informer.synced.wait()
        assert seen == [(None, "a"), (None, "b")]


async def test_the_next_page_is_requested_while_one_is_read(script):
    script.lists = [listing(5, wire("a", 3), more="x"), listing(5, wire("b", 4), more="y")]
    async with served(script) as port, Client(ClientConfig(f"http://127.0.0.1:{port}")) as client:
        pages = client.pages(kinds.CONFIG_MAP, limit=1)
        await anext(pages)
        await until(lambda: script.asked[1:] == [{"limit": "1", "continue": "x"}])
        await pages.aclose()  # a reader that stops must request no further page
        assert len(script.asked) == 2


async def test_a_page_is_worked_on_when_the_next_one_is_requested(
    script, monkeypatch: pytest.MonkeyPatch
):
    script.lists = [listing(5, wire("a", 3), more="x"), listing(5, wire("b", 4))]
    async with served(script) as port, Client(ClientConfig(f"http://127.0.0.1:{port}")) as client:
        sent, send = [], client._sender.send

        async def noted(request: ClientRequest) -> bytes:
            sent.append(dict(request.query).get("continue"))
            return await send(request)

        monkeypatch.setattr(client._sender, "send", noted)
        pages = client.pages(kinds.CONFIG_MAP, limit=1)
        await anext(pages)
        assert sent == [None, "x"]  # no other task has had a turn since the page came
        await pages.aclose()


async def test_an_expired_page_makes_the_informer_list_in_one_page(script):
    gone = web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
    script.lists = [listing(5, wire("a", 3), more="x"), gone, listing(9, wire("b", 8))]
    async with served(script) as port, following(port) as informer:
        await until(lambda: names(informer) == "b")
        assert script.asked[2] == {}


@dataclass(frozen=True)
class Small:
    """The least that an informer needs of an object."""

    key: tuple[str, str]
    uid: str
    resource_version: str


async def test_an_informer_caches_only_the_kept_part(script, caplog):
    def small(item: ConfigMap) -> Small:
        if item.data.get("bad"):
            raise RuntimeError("mine")
        return Small(item.key, item.uid, item.resource_version)

    script.lists = [listing(5, wire("a", 3), wire("b", 4, data={"bad": "x"}))]
    script.watches = [
        (line("ADDED", wire("c", 6, data={"bad": "x"})), line("DELETED", wire("a", 7))),
        (line("ADDED", wire("d", 8)), line("ADDED", wire("d", 8))),
    ]
    seen = []
    async with served(script) as port, following(port, keep=small) as informer:
        informer.subscribe(lambda old, new: seen.append((old, new)))
        await until(lambda: informer.resource_version == "8")
        assert informer.snapshot() == {("n", "d"): Small(("n", "d"), "d", "8")}
        a, d = Small(("n", "a"), "a", "3"), Small(("n", "d"), "d", "8")
        assert seen == [(None, a), (a, None), (None, d)]
        assert "ConfigMap n/b: left out" in caplog.text
        assert "ConfigMap n/c: left out" in caplog.text
