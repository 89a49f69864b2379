"""Conversion webhooks: which versions clients see, what is stored, and how answers are checked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from control.server.state import conversion
from control.server.verbs import read
from control.server.wire.item import Item
from tests.support.control.definitions import DEFINITIONS, is_established, until, until_gone
from tests.support.control.requests import JSON_PATCH, MERGE, Api
from tests.support.control.webhook import VALIDATING, Webhooks, deny, webhook_server

GROUP = "example.com"
NAME = f"hosts.{GROUP}"
V1, V2 = f"/apis/{GROUP}/v1/hosts", f"/apis/{GROUP}/v2/hosts"
Wire = dict[str, Any]


def changed(given: Wire, wanted: str) -> Wire:
    """v1 has a host and a port in one text, v2 apart."""
    made = given | {"apiVersion": wanted}
    spec = dict(given.get("spec") or {})
    if wanted.endswith("v2") and "at" in spec:
        host, _, port = spec.pop("at").partition(":")
        spec |= {"host": host, "port": int(port)}
    elif wanted.endswith("v1") and "host" in spec:
        spec["at"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return made | {"spec": spec}


def answering(**more: Any) -> Callable[[Wire], Wire]:
    """Return a webhook that converts; ``more`` replaces parts of its response."""

    def answer(request: Wire) -> Wire:
        objects = [changed(each, request["desiredAPIVersion"]) for each in request["objects"]]
        response = {
            "uid": request["uid"],
            "result": {"status": "Success"},
            "convertedObjects": objects,
        }
        head = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1"}
        return head | {"response": response | more}

    return answer


def definition(hooks: Webhooks, storage: str = "v1") -> Wire:
    specs = {
        "v1": {"at": {"type": "string"}},
        "v2": {"host": {"type": "string"}, "port": {"type": "integer"}},
    }
    versions = []
    for name, fields in specs.items():
        spec = {"type": "object", "properties": fields}
        schema = {"type": "object", "properties": {"spec": spec}}
        versions.append(
            {
                "name": name,
                "served": True,
                "storage": name == storage,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
            }
        )
    client = {"url": f"{hooks.url}/convert", "caBundle": hooks.bundle}
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    return {
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"plural": "hosts", "kind": "Host"},
            "versions": versions,
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def host(version: str, name: str = "a", **spec: Any) -> Wire:
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Host",
        "metadata": {"name": name},
        "spec": spec or ({"at": "h:80"} if version == "v1" else {"host": "h", "port": 80}),
    }


@pytest.fixture
async def hooks(tmp_path: Path, api: Api) -> AsyncIterator[Webhooks]:
    async with webhook_server(tmp_path) as server:
        server.answers["/convert"] = answering()
        await api.make(DEFINITIONS, definition(server))
        await until(api, f"{DEFINITIONS}/{NAME}", is_established)
        yield server


async def stored(api: Api, name: str = "a") -> Wire:
    """Return an object as the store has it."""
    page = await api.state.store.list(f"/registry/{GROUP}/hosts/{name}")
    return dict(json.loads(page.records[0].value))


async def test_each_version_is_shown_and_one_is_stored(api: Api, hooks: Webhooks):
    made = await api.make(V2, host("v2"))
    assert (made["apiVersion"], made["spec"]) == (f"{GROUP}/v2", {"host": "h", "port": 80})
    kept = await stored(api)
    assert (kept["apiVersion"], kept["spec"]) == (f"{GROUP}/v1", {"at": "h:80"})
    assert (await api("GET", f"{V1}/a"))["spec"] == {"at": "h:80"}
    assert (await api("GET", f"{V2}/a"))["spec"] == {"host": "h", "port": 80}
    uid = made["metadata"]["uid"]
    assert (await api("GET", f"{V1}/a"))["metadata"]["uid"] == uid
    assert len(hooks.asked["/convert"]) == 1, "what was written in v2 is known in v2"


async def test_lists_are_converted_at_once(api: Api, hooks: Webhooks):
    for name in ("a", "b", "c"):
        await api.make(V1, host("v1", name))
    listed = await api("GET", V2)
    assert [it["spec"]["port"] for it in listed["items"]] == [80, 80, 80]
    assert [len(it["objects"]) for it in hooks.asked["/convert"]] == [3]
    await api("GET", V2)
    page = await api("GET", f"{V2}?limit=2")
    rest = await api("GET", f"{V2}?limit=2&continue={page['metadata']['continue']}")
    assert len(page["items"]) == 2 and rest["items"][0]["spec"]["host"] == "h"
    assert len(hooks.asked["/convert"]) == 1


async def test_updates_and_patches(api: Api, hooks: Webhooks):
    await api.make(V1, host("v1"))
    patched = await api("PATCH", f"{V2}/a", {"spec": {"port": 81}}, MERGE)
    assert (patched.code, patched["spec"]) == (200, {"host": "h", "port": 81})
    assert (await stored(api))["spec"] == {"at": "h:81"}
    applied = host("v2", host="x", port=1)
    query = "fieldManager=me&force=true"
    reply = await api("PATCH", f"{V2}/a?{query}", applied, "application/apply-patch+yaml")
    assert (reply.code, reply["spec"]) == (200, {"host": "x", "port": 1})
    assert (await api("GET", f"{V1}/a"))["spec"] == {"at": "x:1"}
    assert (await api("DELETE", f"{V2}/a")).code == 200
    assert hooks.asked


async def test_a_watch_shows_its_version(api: Api, hooks: Webhooks):
    await api.make(V1, host("v1"))
    async with api.session.get(f"{V2}?watch=true") as response:
        lines = response.content

        async def event() -> tuple[str, Any]:
            read = json.loads(await asyncio.wait_for(lines.readline(), 20))
            return read["type"], read["object"]["spec"]

        assert await event() == ("ADDED", {"host": "h", "port": 80})
        await api.make(V1, host("v1", "b", at="h:2"))
        assert await event() == ("ADDED", {"host": "h", "port": 2})
        await api("PATCH", f"{V1}/b", {"spec": {"at": "h:3"}}, MERGE)
        assert await event() == ("MODIFIED", {"host": "h", "port": 3})
        await api("DELETE", f"{V1}/b")
        assert await event() == ("DELETED", {"host": "h", "port": 3})
    version = (await api("GET", V2))["metadata"]["resourceVersion"]
    await api("PATCH", f"{V1}/a", {"spec": {"at": "h:9"}}, MERGE)
    query = f"watch=true&resourceVersion={version}&timeoutSeconds=1"
    async with api.session.get(f"{V2}?{query}") as response:
        read = json.loads(await response.content.readline())
    assert (read["type"], read["object"]["spec"]["port"]) == ("MODIFIED", 9)


async def test_another_storage_version(api: Api, hooks: Webhooks):
    await api.make(V1, host("v1"))
    at = "/spec/versions"
    patch = [
        {"op": "replace", "path": f"{at}/0/storage", "value": False},
        {"op": "replace", "path": f"{at}/1/storage", "value": True},
    ]
    assert (await api("PATCH", f"{DEFINITIONS}/{NAME}", patch, JSON_PATCH)).code == 200
    assert (await api("GET", f"{V2}/a"))["spec"]["port"] == 80
    assert (await stored(api))["apiVersion"] == f"{GROUP}/v1"
    assert (await api("PATCH", f"{V1}/a", {"spec": {"at": "h:5"}}, MERGE)).code == 200
    assert (await stored(api))["spec"] == {"host": "h", "port": 5}


def _wrong(**given: Any) -> Callable[[Wire], Wire]:
    """Return a webhook whose converted object has other fields."""

    def answer(request: Wire) -> Wire:
        objects = [changed(it, request["desiredAPIVersion"]) | given for it in request["objects"]]
        return answering(convertedObjects=objects)(request)

    return answer


# What a webhook answers, and what a client reads after the version that it converts from.
FAILURES: dict[str, tuple[Any, str]] = {
    "a failure": (
        answering(result={"status": "Failure", "message": "I know no ports"}),
        "failed: I know no ports",
    ),
    "no status": (answering(result={}), "failed: response.result.status was '', not 'Success'"),
    "too few": (answering(convertedObjects=[]), "returned 0 objects, expected 1"),
    "another version": (
        _wrong(apiVersion="x/v9"),
        "returned invalid converted object at index 0: invalid groupVersion"
        " (expected example.com/v2, received x/v9)",
    ),
    "another kind": (
        _wrong(kind="Ghost"),
        "returned invalid converted object at index 0: invalid kind"
        " (expected Host, received Ghost)",
    ),
    "another name": (
        _wrong(metadata={"name": "z"}),
        "returned invalid converted object at index 0: must have the same name: a != z",
    ),
    "no server": (
        web.Response(status=500, body=b"oops"),
        'failed: an error on the server ("oops") has prevented the request from succeeding',
    ),
}


@pytest.mark.parametrize(("answer", "said"), FAILURES.values(), ids=FAILURES)
async def test_failures(api: Api, hooks: Webhooks, answer: Any, said: str):
    await api.make(V1, host("v1"))
    hooks.answers["/convert"] = answer
    refused = await api("GET", f"{V2}/a")
    why = f"conversion webhook for {GROUP}/v1, Kind=Host {said}"
    assert (refused.code, refused["message"]) == (500, f"Internal error occurred: {why}")
    assert (await api("GET", V2)).code == 500
    assert (await api("GET", f"{V1}/a")).code == 200, "the stored version needs no webhook"


async def test_a_definition_goes_without_its_webhook(api: Api, hooks: Webhooks):
    await api.make(V2, host("v2"))
    hooks.answers["/convert"] = web.Response(status=500)
    assert (await api("DELETE", f"{DEFINITIONS}/{NAME}")).code == 200
    await until_gone(api, f"{DEFINITIONS}/{NAME}")


def test_a_memo_counts_what_it_replaces(monkeypatch: pytest.MonkeyPatch):
    """A webhook may answer each time with another size."""
    monkeypatch.setattr(conversion, "_MOST_BYTES", 1000)
    memo = conversion.Memo()
    for _ in range(20):
        memo.put(b"a", b"x" * 900)
        memo.put(b"a", b"y")
    memo.put(b"b", b"z" * 900)
    assert memo.get(Item.of("", 0, b"a")) == b"y"
    memo.put(b"a", b"y" * 900)
    assert memo.get(Item.of("", 0, b"b")) is None


async def test_metadata_stays(api: Api, hooks: Webhooks):
    labels = {"name": "a", "labels": {"by": "hook"}, "finalizers": ["x/y"]}

    def answer(request: Wire) -> Wire:
        objects = [changed(it, request["desiredAPIVersion"]) for it in request["objects"]]
        made = [it | {"metadata": it["metadata"] | labels} for it in objects]
        return answering(convertedObjects=made)(request)

    await api.make(V1, host("v1"))
    hooks.answers["/convert"] = answer
    shown = (await api("GET", f"{V2}/a"))["metadata"]
    assert shown["labels"] == {"by": "hook"} and "finalizers" not in shown


async def test_admission_asks_in_the_version_of_its_rule(api: Api, hooks: Webhooks):
    rule = {
        "operations": ["CREATE"],
        "apiGroups": [GROUP],
        "apiVersions": ["v2"],
        "resources": ["hosts"],
    }
    hooks.answers["/deny"] = deny("no")
    await api.make(VALIDATING, hooks.configuration("a", hooks.hook("/deny", rules=[rule])))
    assert (await api("POST", V1, host("v1"))).code == 400
    assert hooks.asked["/deny"][0]["object"]["spec"] == {"host": "h", "port": 80}


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({}, ""),
        ({"convertedObjects": []}, "conversion_webhook_partial_response_failure"),
        ({"uid": "another"}, "conversion_webhook_malformed_response_failure"),
        ({"convertedObjects": [{}]}, "conversion_webhook_invalid_converted_object_failure"),
    ],
)
async def test_conversions_are_counted(api: Api, hooks: Webhooks, more: Wire, wrong: str):
    hooks.answers["/convert"] = answering(**more)
    await api.make(V1, host("v1"))
    assert (await api("GET", f"{V2}/a")).code == (500 if wrong else 200)
    result = f'{{result="{"failure" if wrong else "success"}",failure_type="{wrong}"}}'
    shown = api.state.metrics.text()
    assert f"\napiserver_conversion_webhook_request_total{result} 1\n" in shown
    assert f"\napiserver_conversion_webhook_duration_seconds_count{result} 1\n" in shown
    of = f'crd_name="{NAME}",from_version="v1",to_version="v2"'
    of += f',succeeded="{"false" if wrong else "true"}"'
    assert f"\napiserver_crd_conversion_webhook_duration_seconds_count{{{of}}} 1\n" in shown


async def many(api: Api, count: int) -> None:
    for number in range(count):
        await api.make(V1, host("v1", f"h{number:02}", at=f"{'x' * 200}:{number}"))


@pytest.mark.parametrize("query", ["", "?limit=5"])
async def test_more_than_a_memo_has_room_for_is_converted_in_pieces(
    api: Api, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch, query: str
):
    await many(api, 40)
    monkeypatch.setattr(conversion, "_MOST_BYTES", 6000)
    hooks.asked.clear()
    listed = await api("GET", f"{V2}{query}")
    assert (listed.code, len(listed["items"])) == (200, 5 if query else 40), listed
    assert [item["spec"]["port"] for item in listed["items"]][:5] == [0, 1, 2, 3, 4]
    asked = [each["metadata"]["name"] for it in hooks.asked["/convert"] for each in it["objects"]]
    assert sorted(asked) == [f"h{number:02}" for number in range(40)], "each once"
    assert len(hooks.asked["/convert"]) > 16


async def test_an_old_list_is_converted_page_by_page(
    api: Api, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
):
    await many(api, 40)
    version = (await api("GET", V1))["metadata"]["resourceVersion"]
    await api("DELETE", f"{V1}/h00")
    monkeypatch.setattr(read, "_STRIDE", 2)
    exact = f"resourceVersion={version}&resourceVersionMatch=Exact"
    listed = await api("GET", f"{V2}?{exact}")
    assert (listed.code, len(listed["items"])) == (200, 40)


async def test_an_old_list_without_room_is_refused_clearly(
    api: Api, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
):
    await many(api, 40)
    version = (await api("GET", V1))["metadata"]["resourceVersion"]
    await api("DELETE", f"{V1}/h00")
    monkeypatch.setattr(conversion, "_MOST_BYTES", 6000)
    monkeypatch.setattr(read, "_STRIDE", 2)
    exact = f"resourceVersion={version}&resourceVersionMatch=Exact"
    refused = await api("GET", f"{V2}?{exact}")
    assert (refused.code, refused["reason"]) == (413, "RequestEntityTooLarge")
    why = "hosts that a webhook converts: list them in pages, by limit=500"
    assert refused["message"] == f"Request entity too large: {why}"
    paged = await api("GET", f"{V2}?{exact}&limit=2")
    assert (paged.code, len(paged["items"])) == (200, 2)
