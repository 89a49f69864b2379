"""Objects of extension servers: namespaces are emptied of them, and they own and are owned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.api.cluster import CustomResourceDefinition
from control.api.kinds import Kind
from control.api.meta import Object
from control.client import Client
from control.client.discovery import Discovery, ServedKind
from control.controllers.added import AddedKinds
from control.controllers.extensions import ExtensionKinds
from control.controllers.garbage.collector import GarbageCollector
from control.controllers.garbage.namespaces import NamespaceController
from control.controllers.loop import Manager
from control.server.aggregation import follow
from control.server.remote import services
from tests.support.control.cluster import running
from tests.support.control.definitions import definition, until_gone
from tests.support.control.extension import certificates, endpoints, no_endpoints
from tests.support.control.greetings import GREETINGS, HOST, greetings_server, register
from tests.support.control.requests import CORE, Api
from tests.support.control.secured import secured_server

BASE = f"{GREETINGS}/namespaces/default/greetings"


@dataclass
class World:
    api: Api
    port: int


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A server whose Greetings an extension server serves, and the two controllers."""
    monkeypatch.setattr(services, "is_allowed", lambda _: True)
    monkeypatch.setattr(follow, "_SOON", 0.02)
    found = certificates(tmp_path, (HOST,))
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(greetings_server(tmp_path, found))
        server = await stack.enter_async_context(secured_server(tmp_path, front_proxy=found.proxy))
        connector = aiohttp.TCPConnector(ssl=server.client_tls())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(server.url, connector=connector)
        )
        client = await stack.enter_async_context(Client.from_kubeconfig(server.kubeconfig))
        manager = Manager(client, [GarbageCollector(), NamespaceController()])
        await stack.enter_async_context(running(manager.run()))
        api = Api(session, server.state)
        await register(api, found, port)
        await until(api, BASE, 200)
        yield World(api, port)


async def until(api: Api, path: str, code: int) -> None:
    while True:
        if (await api("GET", path)).code == code:
            return
        await asyncio.sleep(0.02)


def owned(name: str, owner: dict[str, Any]) -> dict[str, Any]:
    reference = {word: owner[word] for word in ("apiVersion", "kind")}
    reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"metadata": {"name": name, "ownerReferences": [reference]}}


async def test_objects_of_an_extension_own_and_are_owned(world: World):
    api = world.api
    owner = await api.make(BASE, {"metadata": {"name": "hello"}})
    await api.make(f"{CORE}/configmaps", owned("plain", owner))
    plain = (await api("GET", f"{CORE}/configmaps/plain")).body
    await api.make(BASE, owned("child", plain | {"apiVersion": "v1", "kind": "ConfigMap"}))
    await api("DELETE", f"{BASE}/hello")
    await until_gone(api, f"{CORE}/configmaps/plain")
    await until_gone(api, f"{BASE}/child")


async def test_a_namespace_waits_for_the_server_of_its_objects(world: World):
    api, namespace = world.api, "/api/v1/namespaces/n"
    await api.make("/api/v1/namespaces", {"metadata": {"name": "n"}})
    inside = f"{GREETINGS}/namespaces/n/greetings"
    await api.make(inside, {"metadata": {"name": "hello"}})
    await api.make(BASE, {"metadata": {"name": "stays"}})
    await no_endpoints(api.state, "greetings")
    await until(api, inside, 503)
    await api("DELETE", namespace)
    found = await until_there_are_problems(api, namespace)
    what = "unable to retrieve the complete list of server APIs: "
    rows = [
        f"{at}: stale GroupVersion discovery: {at}"
        for at in ("external.metrics.k8s.io/v1beta1", "greet.example.com/v1")
    ]
    assert found["NamespaceDeletionDiscoveryFailure"] == (
        f"Discovery failed for some groups, 2 failing: {what}{', '.join(rows)}"
    )
    await endpoints(api.state, world.port, "greetings")
    await until_gone(api, namespace)
    await until(api, BASE, 200)
    assert (await api("GET", inside))["items"] == []
    assert [it["metadata"]["name"] for it in (await api("GET", BASE))["items"]] == ["stays"]


async def until_there_are_problems(api: Api, path: str) -> dict[str, str]:
    while True:
        if found := problems((await api("GET", path)).body):
            return found
        await asyncio.sleep(0.02)


def problems(namespace: dict[str, Any]) -> dict[str, str]:
    rows = namespace["status"].get("conditions", ())
    return {row["type"]: row["message"] for row in rows if row["status"] == "True"}


def served(group: str, version: str, plural: str, *verbs: str) -> Discovery:
    kind: Kind = Kind(group, version, plural.title(), plural, Object)
    verbs = verbs or ("delete", "list", "watch")
    return Discovery({(group, plural): ServedKind(kind, frozenset(verbs))})


def test_kinds_come_and_go_with_discovery_but_stay_while_it_is_stale():
    seen: list[str] = []
    custom: set[tuple[str, str]] = set()
    kinds = ExtensionKinds(
        lambda kind: seen.append(f"+{kind.api_version}"),
        lambda kind: seen.append(f"-{kind.api_version}"),
        lambda: custom,
    )
    for discovery in (
        served("x.io", "v1", "widgets", "get", "list"),  # cannot be deleted
        served("apps", "v9", "deployments"),  # podwire follows them anyway
        served("x.io", "v1", "widgets"),
        served("x.io", "v1", "widgets"),
        Discovery({}, ["x.io/v1"]),
    ):
        kinds.apply(discovery)
    assert seen == ["+x.io/v1"]
    kinds.apply(served("x.io", "v2", "widgets"))
    assert seen[1:] == ["-x.io/v1", "+x.io/v2"]
    custom.add(("x.io", "widgets"))  # a definition serves them now
    kinds.apply(served("x.io", "v2", "widgets"))
    assert seen[3:] == ["-x.io/v2"]


@pytest.mark.parametrize("early", ["v1", "v1alpha1"])
def test_a_kind_that_discovery_shows_before_its_definition_comes_once(early: str):
    """The APIService of its group wakes discovery, maybe before the definition is seen."""
    followed: list[str] = []
    kinds = AddedKinds(
        lambda kind: followed.append(kind.api_version),
        lambda kind: followed.remove(kind.api_version),
    )
    made = definition()
    made["status"] = {
        "acceptedNames": made["spec"]["names"],
        "conditions": [{"type": "Established", "status": "True"}],
    }
    seen = CustomResourceDefinition.read(made)
    shown = served("example.com", early, "crontabs")
    for discovery in (shown, Discovery({}), shown):
        kinds.extensions.apply(shown)
        assert followed == [f"example.com/{early}"]
        kinds.custom.apply(None, seen)
        assert followed == ["example.com/v1"]
        kinds.extensions.apply(discovery)
        assert followed == ["example.com/v1"]
        kinds.custom.apply(seen, None)
        assert followed == []
