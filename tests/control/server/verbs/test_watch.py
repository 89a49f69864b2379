"""Watches: their events, their start revision and their end."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from control.api.kinds import CONFIG_MAP
from control.server.state.watch_cache import Listener
from control.server.verbs import watch as watch_module
from control.store.base import Create
from tests.support.control.requests import CORE, MERGE, Api, config_map

MAPS = f"{CORE}/configmaps"


class Stream:
    """The events of a watch, one at a time."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            line = await self.answer.content.readline()
        assert line.endswith(b"\n"), line
        return dict(json.loads(line))

    async def told(self, count: int) -> list[tuple[str, str]]:
        found = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in found]

    async def rest(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            return [json.loads(line) for line in (await self.answer.read()).splitlines()]


@asynccontextmanager
async def watching(api: Api, query: str = "", path: str = MAPS) -> AsyncIterator[Stream]:
    async with api.session.get(f"{path}?watch=1{query}") as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)


async def test_a_watch_sends_present_objects_and_then_changes(api: Api):
    await api.make(MAPS, config_map("a"))
    async with watching(api) as stream:
        assert await stream.told(1) == [("ADDED", "a")]
        await api.make(MAPS, config_map("b"))
        await api("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, MERGE)
        await api("DELETE", f"{MAPS}/a")
        assert await stream.told(3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_removal_carries_the_last_state_at_its_own_revision(api: Api):
    await api.make(MAPS, config_map("a", x="1"))
    async with watching(api) as stream:
        await stream.next()
        await api("DELETE", f"{MAPS}/a")
        event = await stream.next()
    assert event["object"]["data"] == {"x": "1"}
    assert event["object"]["metadata"]["resourceVersion"] == str(api.state.store.revision)


async def test_a_watch_resumes_at_its_revision(api: Api):
    made = await api.make(MAPS, config_map("a"))
    await api.make(MAPS, config_map("b"))
    await api("DELETE", f"{MAPS}/a")
    since = f"&resourceVersion={made['metadata']['resourceVersion']}"
    async with watching(api, since) as stream:
        assert await stream.told(2) == [("ADDED", "b"), ("DELETED", "a")]


async def test_a_selected_watch_adds_and_deletes_objects_that_change(api: Api):
    await api.make(MAPS, config_map("a"))
    async with watching(api, "&labelSelector=on%3Dyes") as stream:
        await api("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"on": "yes"}}}, MERGE)
        await api("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, MERGE)
        await api("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"on": "no"}}}, MERGE)
        last = str(api.state.store.revision)
        await api("PATCH", f"{MAPS}/a", {"data": {"x": "2"}}, MERGE)
        assert await stream.told(2) == [("ADDED", "a"), ("MODIFIED", "a")]
        gone = await stream.next()
    assert (gone["type"], gone["object"]["metadata"]["resourceVersion"]) == ("DELETED", last)
    assert gone["object"]["metadata"]["labels"] == {"on": "yes"}


async def test_one_object_by_name(api: Api):
    await api.make(MAPS, config_map("a"))
    await api.make(MAPS, config_map("b"))
    async with watching(api, "&fieldSelector=metadata.name%3Db") as stream:
        await api("DELETE", f"{MAPS}/a")
        await api("DELETE", f"{MAPS}/b")
        assert await stream.told(2) == [("ADDED", "b"), ("DELETED", "b")]


async def test_initial_events_end_with_a_bookmark(api: Api):
    await api.make(MAPS, config_map("a"))
    query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(api, query) as stream:
        assert await stream.told(1) == [("ADDED", "a")]
        end = await stream.next()
        assert end["type"] == "BOOKMARK"
        metadata = end["object"]["metadata"]
        assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert metadata["resourceVersion"] == str(api.state.store.revision)
    async with watching(
        api, "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    ) as stream:
        await api.make(MAPS, config_map("b"))
        assert await stream.told(1) == [("ADDED", "b")]
    assert (await api("GET", f"{MAPS}?watch=1&sendInitialEvents=true")).code == 422


async def test_bookmarks_have_the_reached_revision(api: Api, monkeypatch):
    monkeypatch.setattr(watch_module, "_BOOKMARK_EVERY", 0.05)
    async with watching(api, "&allowWatchBookmarks=true") as stream:
        await api.make(f"{CORE}/secrets", {"metadata": {"name": "other"}})
        event = await stream.next()
        while event["object"]["metadata"]["resourceVersion"] != str(api.state.store.revision):
            event = await stream.next()
    assert event["type"] == "BOOKMARK"


async def test_a_watch_ends_after_timeout_seconds(api: Api):
    async with watching(api, "&timeoutSeconds=1") as stream:
        assert await stream.rest() == []


async def test_a_watch_from_a_compacted_revision_gets_an_error_event(api: Api):
    for n in range(3):
        await api.make(MAPS, config_map(f"m{n}"))
    api.state.cache.of(CONFIG_MAP).floor = 6
    async with watching(api, "&resourceVersion=5") as stream:
        (event,) = await stream.rest()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_a_restarted_server_still_knows_the_newest_changes(api: Api):
    made = await api.make(MAPS, config_map("a"))
    await api("DELETE", f"{MAPS}/a")
    await api.state.cache.stop()
    await api.state.cache.start()
    since = f"&resourceVersion={made['metadata']['resourceVersion']}"
    async with watching(api, since) as stream:
        assert await stream.told(1) == [("DELETED", "a")]


async def test_a_slow_watcher_is_disconnected_and_delays_no_other(
    api: Api, api_server, monkeypatch
):
    monkeypatch.setattr(watch_module, "_QUEUE", 20)
    big = "x" * 200_000
    await api.make(MAPS, config_map("a"))
    slow = await _watcher_that_does_not_read(api_server.port)
    async with watching(api) as quick:
        heard = asyncio.create_task(_hear(quick, 81))
        for n in range(80):
            await api("PATCH", f"{MAPS}/a", {"data": {"x": f"{n}{big}"}}, MERGE)
        assert await heard == 81
    assert await _bytes_until_the_end(slow) < 80 * len(big)
    slow.close()


async def _bytes_until_the_end(connection: socket.socket) -> int:
    total = 0
    with suppress(ConnectionResetError):
        async with asyncio.timeout(60):
            while piece := await asyncio.get_running_loop().sock_recv(connection, 1 << 20):
                total += len(piece)
    return total


async def _watcher_that_does_not_read(port: int) -> socket.socket:
    """Start a watch, read its first bytes, and then read almost nothing."""
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await loop.sock_connect(made, ("127.0.0.1", port))
    await loop.sock_sendall(made, f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (await loop.sock_recv(made, 12)) == b"HTTP/1.1 200"
    return made


async def _hear(stream: Stream, count: int) -> int:
    for heard in range(count):
        async with asyncio.timeout(60):
            line = b""
            while not line.endswith(b"\n"):
                line = await stream.answer.content.readany()
                if not line:
                    return heard
    return count


async def test_a_watch_can_send_table_rows(api: Api):
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with api.session.get(f"{MAPS}?watch=1", headers=headers) as answer:
        await api.make(MAPS, config_map("a"))
        event = await Stream(answer).next()
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][:2] == ["a", 0]


async def test_other_keys_of_the_store_are_ignored(api: Api):
    await api.state.store.commit(Create("/other/thing", b"not json"))
    assert (await api("GET", MAPS)).code == 200


async def test_old_paths_watch(api: Api):
    """Upstream still has ``watch`` before the resource; a name selects one object."""
    await api.make(MAPS, config_map("a"))
    await api.make(MAPS, config_map("b"))
    for path, names in (
        ("/api/v1/watch/configmaps", ["a", "b"]),
        ("/api/v1/watch/namespaces/default/configmaps", ["a", "b"]),
        ("/api/v1/watch/namespaces/default/configmaps/b", ["b"]),
        ("/api/v1/watch/namespaces/default/configmaps/b?fieldSelector=metadata.name%3Db", ["b"]),
        ("/api/v1/watch/namespaces/default", ["default"]),
        ("/apis/apps/v1/watch/namespaces/default/deployments", []),
    ):
        async with api.session.get(path) as answer:
            assert answer.status == 200
            told = await Stream(answer).told(len(names))
        assert told == [("ADDED", name) for name in names]
    other = "/api/v1/watch/namespaces/default/configmaps/b?fieldSelector=metadata.name%3Da"
    refused = await api("GET", other)
    assert (refused.code, refused["message"]) == (
        400,
        "fieldSelector metadata.name doesn't match requested name",
    )
    assert (await api("POST", "/api/v1/watch/configmaps", config_map("c"))).code == 405
    assert (await api("GET", "/api/v1/watch/namespaces/default/pods/a/status")).code == 404
    assert (await api("GET", "/api/v1/watch")).code == 404


@pytest.mark.parametrize("protocol", ["", "base64.binary.k8s.io", "v4.channel.k8s.io"])
async def test_a_websocket_has_an_event_in_each_message(api: Api, protocol: str):
    await api.make(MAPS, config_map("a"))
    offered = [protocol] if protocol else []
    async with api.session.ws_connect(f"{MAPS}?watch=1", protocols=offered) as socket:
        assert (socket.protocol or "") == protocol
        await socket.send_str("nobody reads this")
        assert (await socket.receive_json())["object"]["metadata"]["name"] == "a"
        await api.make(MAPS, config_map("b"))
        assert (await socket.receive_json())["object"]["metadata"]["name"] == "b"
    await until_no_watch(api)


async def test_a_websocket_ends_with_its_watch(api: Api):
    async with api.session.ws_connect(f"{MAPS}?watch=1&timeoutSeconds=1") as socket:
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000
    await until_no_watch(api)


async def until_no_watch(api: Api) -> None:
    async with asyncio.timeout(60):
        # The server itself follows ConfigMaps too.
        while any(map(is_of_a_watch, api.state.cache.of(CONFIG_MAP).listeners)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_of_a_watch(listener: Listener) -> bool:
    return getattr(listener, "__module__", "") == watch_module.__name__
