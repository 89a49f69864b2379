"""Several API servers over one etcd: each sees at once what another wrote."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.api.kinds import CONFIG_MAP, SERVICE
from control.client import Client, Informer
from control.client.backoff import Backoff
from control.client.kubeconfig import ClientConfig
from control.server.wire.info import storage_key
from control.store import open_store
from control.store.copy import copy
from tests.support.control.api_server import running
from tests.support.control.definitions import CRONTABS, crontab, established, until
from tests.support.control.etcd import Etcd, shared_etcd
from tests.support.control.requests import CORE, MERGE, Api, config_map, service
from tests.support.control.stores import make_store

PATIENCE = 60.0


async def server(stack: AsyncExitStack, url: str) -> Api:
    made = await stack.enter_async_context(running(await open_store(f"etcd:{url}")))
    session = await stack.enter_async_context(aiohttp.ClientSession(made.url))
    return Api(session, made.state)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Api, Api]]:
    async with AsyncExitStack() as stack:
        url = f"{shared_etcd().url}?prefix={tmp_path}"
        yield await server(stack, url), await server(stack, url)


async def test_what_one_wrote_the_other_reads_lists_and_changes(both: tuple[Api, Api]) -> None:
    one, other = both
    path = f"{CORE}/configmaps"
    for number in range(20):
        made = await one.make(path, config_map(f"a{number}", n="1"))
        read = await other("GET", f"{path}/a{number}")
        assert (read.code, read.body) == (200, made)
        listed = await other("GET", path)
        assert made["metadata"] in [item["metadata"] for item in listed["items"]]
        changed = await other("PUT", f"{path}/a{number}", made | {"data": {"n": "2"}})
        assert changed.code == 200
        stale = await one("PUT", f"{path}/a{number}", made | {"data": {"n": "3"}})
        assert stale.code == 409
        one, other = other, one


async def test_a_watch_of_one_hears_the_others_writes(both: tuple[Api, Api]) -> None:
    one, other = both
    path = f"{CORE}/configmaps"
    version = (await other("GET", path))["metadata"]["resourceVersion"]
    asked = f"{path}?watch=1&resourceVersion={version}"
    async with asyncio.timeout(PATIENCE), one.session.get(asked) as stream:
        names = [f"a{number}" for number in range(10)]
        for number, name in enumerate(names):
            await both[number % 2].make(path, config_map(name))
        lines = [json.loads(await stream.content.readline()) for _ in names]
    assert [line["object"]["metadata"]["name"] for line in lines] == names
    assert {line["type"] for line in lines} == {"ADDED"}


async def test_services_of_both_never_get_one_address(both: tuple[Api, Api]) -> None:
    path = f"{CORE}/services"
    spec = {"type": "NodePort"}
    tries = [both[n % 2]("POST", path, service(f"s{n}", **spec)) for n in range(40)]
    made = await asyncio.gather(*tries)
    assert {reply.code for reply in made} == {201}, made
    assert len({reply["spec"]["clusterIP"] for reply in made}) == 40
    assert len({reply["spec"]["ports"][0]["nodePort"] for reply in made}) == 40


async def test_patches_through_both_are_all_kept(both: tuple[Api, Api]) -> None:
    path = f"{CORE}/configmaps"
    await both[0].make(path, config_map("a"))

    async def patch(number: int) -> None:
        """A server tries a patch five times, as upstream's; then it is the client's turn."""
        change = {"data": {f"k{number}": "x"}}
        while (made := await both[number % 2]("PATCH", f"{path}/a", change, MERGE)).code == 409:
            pass
        assert made.code == 200

    await asyncio.gather(*(patch(number) for number in range(20)))
    found = await both[1]("GET", f"{path}/a")
    assert found["data"].keys() == {f"k{number}" for number in range(20)}


async def test_a_kind_that_one_was_told_of_is_served_by_both(both: tuple[Api, Api]) -> None:
    await established(both[0])
    made = await both[1].make(CRONTABS, crontab("a"))
    assert (await both[0]("GET", f"{CRONTABS}/a")).body == made


async def test_clients_go_on_when_a_server_moves_to_etcd(tmp_path: Path) -> None:
    """What they know stays as it is, what they hold can be written, and what comes is heard."""
    path = f"{CORE}/configmaps"
    async with AsyncExitStack() as stack:
        ending = await stack.enter_async_context(AsyncExitStack())
        old = await ending.enter_async_context(running(await make_store("sqlite", tmp_path)))
        session = await stack.enter_async_context(aiohttp.ClientSession(old.url))
        api = Api(session, old.state)
        held = await api.make(path, config_map("a"))
        client = await stack.enter_async_context(Client(ClientConfig(old.url)))
        informer = Informer(client, CONFIG_MAP, "default", backoff=Backoff(0.01, 0.1))
        seen: list[tuple[bool, bool]] = []
        heard = asyncio.Event()

        def hear(before: object, after: Any) -> None:
            seen.append((before is None, after is None))
            if after is not None and after.metadata.name == "b":
                heard.set()

        informer.subscribe(hear)
        task = asyncio.create_task(informer.run())
        stack.callback(task.cancel)
        await informer.synced.wait()
        known = dict(informer.snapshot())
        await ending.aclose()
        source = await open_store(f"sqlite:{tmp_path}/store.db")
        target = await make_store("etcd", tmp_path)
        await copy(source, target)
        await source.close()
        seen.clear()
        await stack.enter_async_context(running(target, old.port))
        await api.make(path, config_map("b"))
        await asyncio.wait_for(heard.wait(), PATIENCE)
        assert (True, False) in seen and (False, True) not in seen, "nothing was deleted"
        assert {key: one.uid for key, one in informer.snapshot().items() if key in known} == {
            key: one.uid for key, one in known.items()
        }
        stale = await api("PUT", f"{path}/a", held | {"data": {"n": "2"}})
        assert stale.code == 409, "its version is of the old store"
        changed = await api("PATCH", f"{path}/a", {"data": {"n": "2"}}, MERGE)
        assert changed.code == 200 and changed["metadata"]["uid"] == held["metadata"]["uid"]


async def test_without_etcd_requests_are_refused_until_it_is_back(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path)
    etcd.start()
    etcd.wait()
    path = f"{CORE}/configmaps"
    try:
        async with AsyncExitStack() as stack:
            api = await server(stack, etcd.url)
            made = await api.make(path, config_map("a"))
            etcd.kill()
            for method, body in (("POST", config_map("b")), ("GET", None)):
                refused = await api(method, path, body)
                assert (refused.code, refused["reason"]) == (503, "ServiceUnavailable"), refused
                assert "etcd" in refused["message"]
            etcd.start()
            etcd.wait()
            async with asyncio.timeout(PATIENCE):
                found = await until(api, f"{path}/a", lambda _: True)
            assert found == made
    finally:
        etcd.kill()


async def test_servers_that_begin_at_once_agree_on_the_clusters_own_objects(tmp_path: Path) -> None:
    for number in range(5):
        url = f"{shared_etcd().url}?prefix={tmp_path}/{number}"
        stores = [await open_store(f"etcd:{url}") for _ in range(3)]
        async with AsyncExitStack() as stack:
            made = [stack.enter_async_context(running(store)) for store in stores]
            servers = await asyncio.gather(*made)
            key = storage_key(SERVICE, "default", "kubernetes")
            found = [server.state.cache.of(SERVICE).get(key) for server in servers]
            assert len({item.wire["metadata"]["uid"] for item in found if item}) == 1
            assert None not in found
