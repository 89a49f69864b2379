"""The garbage collector sees custom objects as owners and as dependents."""

from typing import Any

import aiohttp
import pytest

from control.controllers.garbage.collector import GarbageCollector
from control.controllers.loop import Manager
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import client_of, running
from tests.support.control.definitions import (
    CRONTABS,
    DEFINITIONS,
    NAME,
    crontab,
    established,
    until_gone,
)
from tests.support.control.requests import CORE, Api


@pytest.fixture
async def api(api_server: ApiServer):
    async with aiohttp.ClientSession(api_server.url) as session:
        yield Api(session, api_server.state)


def owned(name: str, owner: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return an object that a CronTab owns."""
    reference = {name_: owner[name_] for name_ in ("apiVersion", "kind")}
    reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    reference |= {"blockOwnerDeletion": True}
    return body | {"metadata": {"name": name, "ownerReferences": [reference]}}


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_dependents_of_a_custom_object_go_with_it(api_server, api: Api, policy: str):
    client = client_of(api_server.url)
    async with client, running(Manager(client, [GarbageCollector()]).run()):
        await established(api)
        owner = await api.make(CRONTABS, crontab())
        await api.make(f"{CORE}/configmaps", owned("plain", owner, {}))
        await api.make(CRONTABS, owned("child", owner, crontab()))
        deleted = await api("DELETE", f"{CRONTABS}/a?propagationPolicy={policy}")
        assert deleted.code == 200
        for path in (f"{CORE}/configmaps/plain", f"{CRONTABS}/child", f"{CRONTABS}/a"):
            await until_gone(api, path)


async def test_a_definition_that_comes_again_is_followed_again(api_server, api: Api):
    client = client_of(api_server.url)
    async with client, running(Manager(client, [GarbageCollector()]).run()):
        for _ in range(2):
            await established(api)
            owner = await api.make(CRONTABS, crontab())
            await api.make(f"{CORE}/configmaps", owned("plain", owner, {}))
            await api("DELETE", f"{CRONTABS}/a?propagationPolicy=Background")
            await until_gone(api, f"{CORE}/configmaps/plain")
            await api("DELETE", f"{DEFINITIONS}/{NAME}")
            await until_gone(api, f"{DEFINITIONS}/{NAME}")


async def test_an_owner_that_cannot_be_is_absent(api_server, api: Api):
    client = client_of(api_server.url)
    async with client, running(Manager(client, [GarbageCollector()]).run()):
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "..", "uid": "u"}}
        await api.make(f"{CORE}/configmaps", owned("plain", owner, {}))
        await until_gone(api, f"{CORE}/configmaps/plain")
