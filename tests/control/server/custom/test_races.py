"""Requests that were parsed before their definition changed, and carried out after."""

import asyncio
import json
from collections.abc import AsyncIterator

from control.api.kinds import Kind
from control.server.verbs.watch import BookmarkNotice, ObjectNotice, watch
from control.server.wire.info import RequestInfo
from control.server.wire.request import ApiRequest, User
from tests.support.control.definitions import (
    CRONTABS,
    DEFINITIONS,
    NAME,
    crontab,
    established,
    until,
    until_gone,
)
from tests.support.control.requests import MERGE, Api


def kind_of(api: Api) -> Kind:
    return api.state.cache.kinds.by_resource["example.com", "v1", "crontabs"]


async def changed(api: Api) -> None:
    """Change the definition, until the server serves another kind."""
    old = kind_of(api)
    names = {"spec": {"names": {"categories": ["some"]}}}
    await api("PATCH", f"{DEFINITIONS}/{NAME}", names, MERGE)
    await until(api, f"{DEFINITIONS}/{NAME}", lambda _: kind_of(api) is not old)


async def test_a_watch_of_a_definition_that_changes_as_it_begins_ends(api: Api):
    """It would hear of nothing, and its bookmarks would say that there was nothing."""
    await established(api)
    made = await api.make(CRONTABS, crontab())
    old = kind_of(api)
    await changed(api)
    await api.make(CRONTABS, crontab("b"))
    since = {"resourceVersion": made["metadata"]["resourceVersion"], "allowWatchBookmarks": "1"}
    for query, names in ((since, ["b"]), ({"allowWatchBookmarks": "1"}, ["a", "b"])):
        info = RequestInfo("watch", old, "default")
        request = ApiRequest(info, User("alice"), query)
        async with asyncio.timeout(60):
            notices = [
                notice
                async for batch in watch(api.state, request, lambda: None)
                for notice in batch
            ]
        assert not any(isinstance(notice, BookmarkNotice) for notice in notices)
        found = [each.item.wire for each in notices if isinstance(each, ObjectNotice)]
        assert [wire["metadata"]["name"] for wire in found] == names


async def test_what_changes_while_a_watch_begins_comes_once(api: Api):
    await established(api)
    await api.make(CRONTABS, crontab())
    request = ApiRequest(RequestInfo("watch", kind_of(api), "default"), User("alice"))
    batches = watch(api.state, request, lambda: None)
    assert await anext(batches) == []  # the answer's headers are sent here
    await api.make(CRONTABS, crontab("b"))
    told = [notice for _ in range(2) for notice in await anext(batches)]
    assert [(it.type, it.item.wire["metadata"]["name"]) for it in told] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]
    await batches.aclose()


async def test_a_create_whose_definition_goes_while_it_is_sent_is_404(api: Api):
    """Else the object would appear as soon as somebody makes such a definition again."""
    await established(api)
    begun, go = asyncio.Event(), asyncio.Event()
    text = json.dumps(crontab("ghost")).encode()

    async def slowly() -> AsyncIterator[bytes]:
        yield text[:10]
        begun.set()
        await go.wait()
        yield text[10:]

    headers = {"Content-Type": "application/json"}
    sending = asyncio.create_task(api.session.post(CRONTABS, data=slowly(), headers=headers))
    await begun.wait()
    await until(api, f"{DEFINITIONS}/{NAME}", bool)
    await api("DELETE", f"{DEFINITIONS}/{NAME}")
    await until_gone(api, f"{DEFINITIONS}/{NAME}")
    go.set()
    async with await sending as answer:
        assert answer.status == 404
    await established(api)
    assert (await api("GET", CRONTABS))["items"] == []
