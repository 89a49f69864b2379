"""ResourceQuotas: what is counted, and when it is counted again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from control.api import kinds
from control.api.quota.count import counted
from control.api.quota.model import ResourceQuota
from control.client import ApiError, Client
from control.controllers.actions import Recount
from control.controllers.loop import Manager
from control.controllers.quota.controller import QuotaController
from control.controllers.quota.recount import recounted
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import client_of, running, until
from tests.support.control.definitions import CRONTABS, crontab, established
from tests.support.control.requests import CORE, MERGE, Api, config_map, pod, service

QUOTAS, PODS = f"{CORE}/resourcequotas", f"{CORE}/pods"


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(api_server.url) as session:
        yield Api(session, api_server.state)


@pytest.fixture
async def controlled(api_server: ApiServer, api: Api) -> AsyncIterator[Api]:
    client = client_of(api_server.url)
    async with client, running(Manager(client, [QuotaController()]).run()):
        yield api


def quota(hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard} | spec}


async def until_used(api: Api, wanted: dict[str, str]) -> None:
    async def is_used() -> bool:
        status = (await api("GET", f"{QUOTAS}/q")).body["status"]
        return all(status.get("used", {}).get(name) == it for name, it in wanted.items())

    await until(is_used)


async def test_what_is_there_is_counted_and_what_goes_is_free(controlled: Api):
    api = controlled
    await api.make(PODS, pod("a"))
    await api.make(PODS, pod("b"))
    limits = {"pods": "2", "count/pods": "3", "services.nodeports": "5", "configmaps": "9"}
    await api.make(QUOTAS, quota(limits))
    await until_used(api, {"pods": "2", "count/pods": "2", "services.nodeports": "0"})
    assert (await api("POST", PODS, pod("c"))).code == 403
    assert (await api("DELETE", f"{PODS}/a?gracePeriodSeconds=0")).code == 200
    await until_used(api, {"pods": "1", "count/pods": "1"})
    await api.make(PODS, pod("c"))
    ended = {"status": {"phase": "Succeeded"}}
    assert (await api("PATCH", f"{PODS}/b/status", ended, MERGE)).code == 200
    await until_used(api, {"pods": "1", "count/pods": "2"})
    services = f"{CORE}/services"
    await api.make(services, service("s", type="NodePort"))
    patch = {"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": None}]}}
    await until_used(api, {"services.nodeports": "1"})
    reply = await api("PATCH", f"{services}/s", patch, "application/strategic-merge-patch+json")
    assert reply.code == 200
    await until_used(api, {"services.nodeports": "0"})


async def test_changed_limits_are_in_force_at_once(controlled: Api):
    api = controlled
    maps = f"{CORE}/configmaps"
    await api.make(QUOTAS, quota({"pods": "1"}))
    await until_used(api, {"pods": "0"})
    await api.make(maps, config_map("a"))
    more = {"spec": {"hard": {"configmaps": "1", "pods": None}}}
    assert (await api("PATCH", f"{QUOTAS}/q", more, MERGE)).code == 200
    await until_used(api, {"configmaps": "1"})
    status = (await api("GET", f"{QUOTAS}/q")).body["status"]
    assert status == {"hard": {"configmaps": "1"}, "used": {"configmaps": "1"}}


async def test_custom_objects_are_counted(controlled: Api):
    api = controlled
    await established(api)
    await api.make(CRONTABS, crontab())
    name = "count/crontabs.example.com"
    await api.make(QUOTAS, quota({name: "1"}))
    await until_used(api, {name: "1"})
    reply = await api("POST", CRONTABS, crontab("b"))
    assert reply.code == 403 and f"limited: {name}=1" in reply["message"]
    assert (await api("DELETE", f"{CRONTABS}/a")).code == 200
    await until_used(api, {name: "0"})


class Slow(Client):
    """A client whose lists of Pods wait for somebody."""

    def __init__(self, real: Client, listed: asyncio.Event, go: asyncio.Event) -> None:
        self._real, self._listed, self._go = real, listed, go

    async def list(self, kind: Any, *args: Any, **more: Any) -> Any:
        found = await self._real.list(kind, *args, **more)
        if kind is kinds.POD:
            self._listed.set()
            await self._go.wait()
        return found

    async def update_status(self, kind: Any, item: Any) -> Any:
        return await self._real.update_status(kind, item)


async def test_a_count_never_loses_a_charge(api_server: ApiServer, api: Api):
    """A Pod is made after the Pods were counted, and before the count is written."""
    made = await api.make(QUOTAS, quota({"pods": "1"}))
    status = {"hard": {"pods": "1"}, "used": {"pods": "0"}}
    assert (await api("PUT", f"{QUOTAS}/q/status", made | {"status": status})).code == 200
    listed, go = asyncio.Event(), asyncio.Event()
    async with client_of(api_server.url) as client:
        old = await client.get(kinds.RESOURCE_QUOTA, "default", "q")
        wrong = {"status": status | {"used": {"pods": "5"}}}
        assert (await api("PATCH", f"{QUOTAS}/q/status", wrong, MERGE)).code == 200
        slow = Slow(client, listed, go)
        task = asyncio.create_task(recounted(slow, Recount(old, (kinds.POD,), 0.0)))
        await listed.wait()
        right = {"status": status | {"used": {"pods": "0"}}}
        assert (await api("PATCH", f"{QUOTAS}/q/status", right, MERGE)).code == 200
        await api.make(PODS, pod("a"))
        go.set()
        with pytest.raises(ApiError) as caught:
            await task
        assert caught.value.conflict
        assert (await api("GET", f"{QUOTAS}/q"))["status"]["used"] == {"pods": "1"}


def test_what_nobody_can_count_stays():
    spec = {"hard": {"pods": "1", "count/things.example": "1"}}
    status = {"hard": {}, "used": {"count/things.example": "1", "secrets": "5"}}
    found = counted(ResourceQuota.parse({"spec": spec, "status": status}), {"pods": []}, 0.0)
    assert found.used == {"pods": "0", "count/things.example": "1"}


def test_a_pod_long_over_its_grace_period_is_free():
    wire = pod() | {"metadata": {"name": "p"}, "status": {}}
    wire["metadata"] |= {"deletionTimestamp": "1970-01-01T00:00:30Z"}
    wire["metadata"] |= {"deletionGracePeriodSeconds": 30}
    q = ResourceQuota.parse({"spec": {"hard": {"pods": "1"}}})
    assert counted(q, {"pods": [wire]}, 60.0).used == {"pods": "1"}
    assert counted(q, {"pods": [wire]}, 61.0).used == {"pods": "0"}
