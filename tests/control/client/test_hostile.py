"""Answers as an extension server may give them through the API server: each is an error at most."""

import asyncio
import contextlib
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from control.api.kind import Kind
from control.api.meta import Object
from control.client import Client, ClientConfig, ClientError, Informer
from control.client.backoff import Backoff
from control.client.cache import version_of
from control.client.discovery import Discovery, read
from control.client.stream import LineSplitter, MalformedStreamError, parse_event
from tests.support.control.cluster import running

WIDGET: Kind = Kind("x.io", "v1", "Widget", "widgets", Object)
DEEP = b'{"a":' * 900 + b"null" + b"}" * 900
VERSION = {"resourceVersion": "7"}
LISTS = (
    b"[]",
    b"{",
    b'{"metadata": 7, "items": []}',
    b'{"items": 7}',
    b'{"items": {"a": 1}}',
    b'{"metadata": {"resourceVersion": 7}}',
    b'{"metadata": {"continue": ["x"]}}',
    b'{"items": [' + DEEP + b"]}",
)
LINES = (
    b"7",
    b"{}",
    b'{"type": [], "object": {"metadata": {"resourceVersion": "1"}}}',
    b'{"type": "ERROR", "object": 7}',
    b'{"type": "ERROR", "object": {"code": "x"}}',
    b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": 7}}}',
    b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "9", "name": 7}}}',
    b'{"type": "ADDED", "object": ' + DEEP + b"}",
)
GOOD = {"metadata": {"name": "good", "uid": "u", "resourceVersion": "8"}}


async def test_an_informer_outlasts_whatever_a_server_says():
    lists, lines = list(LISTS), list(LINES)

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            last = orjson.dumps({"metadata": VERSION, "items": [7, None, [], "x"]})
            return web.Response(body=lists.pop(0) if lists else last)
        if lines:
            return web.Response(body=lines.pop(0) + b"\n")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(orjson.dumps({"type": "ADDED", "object": GOOD}) + b"\n")
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server, Client(ClientConfig(str(server.make_url("")))) as client:
        informer = Informer(client, WIDGET, backoff=Backoff(0.001, 0.001))
        came = asyncio.Event()
        informer.subscribe(lambda *_: came.set())
        async with running(informer.run()):
            await came.wait()
        assert informer.get("", "good") is not None
        assert not lists and not lines


WORDS = st.sampled_from(["type", "object", "metadata", "resourceVersion", "name"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["ADDED", "DELETED", "BOOKMARK", "ERROR"]) | JSON, JSON)
def test_any_json_is_an_event_or_an_error_of_the_client(verb: Any, wire: Any):
    with contextlib.suppress(ClientError):
        parse_event(WIDGET, orjson.dumps({"type": verb, "object": wire}))


@pytest.mark.parametrize(
    "items",
    [
        7,
        [7],
        [{}],
        [{"metadata": {"name": "g"}, "versions": [{}]}],
        [{"metadata": {"name": "g"}, "versions": [{"version": "v1", "resources": [7]}]}],
        [{"metadata": {"name": "g"}, "versions": [{"version": "v1", "resources": [{}]}]}],
        [
            {
                "metadata": {"name": "g"},
                "versions": [{"version": "v1", "resources": [{"resource": "a", "verbs": [[]]}]}],
            }
        ],
    ],
)
def test_discovery_of_other_types_is_an_error_of_the_client(items: Any):
    with pytest.raises(ClientError):
        read(orjson.dumps({"kind": "APIGroupDiscoveryList", "items": items}), Discovery())


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", "A", "", "-a", "a" * 300])
def test_names_that_make_no_path_are_not_discovered(name: str):
    found = Discovery()
    for group, version, resource in (("g", "v1", name), ("g", name, "a"), (name or "-", "v1", "a")):
        row = {"resource": resource, "verbs": ["list"]}
        versions = [{"version": version, "resources": [row]}]
        wire = {"metadata": {"name": group}, "versions": versions}
        read(orjson.dumps({"kind": "APIGroupDiscoveryList", "items": [wire]}), found)
    assert not found.served


def test_a_line_without_an_end_is_refused():
    lines = LineSplitter(most=10)
    assert [*lines.feed(b"0123456789\n01234")] == [b"0123456789"]
    with pytest.raises(MalformedStreamError):
        list(lines.feed(b"567890"))


@pytest.mark.parametrize("text", ["", "x", "-1", "²", "9" * 5000])
def test_a_version_that_is_no_number_is_zero(text: str):
    assert version_of(text) == 0
