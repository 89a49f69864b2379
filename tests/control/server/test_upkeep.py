"""Background work: compaction, expiry of Events, and the watch cache."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from control.api.kinds import CONFIG_MAP, KINDS
from control.pki import create_authority
from control.server import trust
from control.server.bootstrap import bootstrap, keep, leave
from control.server.state.presence import PREFIX, Presence
from control.server.state.server import ApiServerConfig, ServerState
from control.server.state.watch_cache import WatchCache
from control.server.upkeep import expire_events, upkeep
from control.server.wire.item import Item
from control.store.base import Create, Delete, Update
from control.store.memory import MemoryStore
from tests.support.control.api_server import ApiServer
from tests.support.control.requests import CORE, MERGE, Api, config_map

KEY = "/registry/core/configmaps/default/a"
VALUE = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","uid":"u"}}'


def event(name: str, age: timedelta) -> dict[str, object]:
    last = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": name},
        "lastTimestamp": last,
        "reason": "X",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    }


async def test_events_expire_an_hour_after_their_last_update(api: Api):
    for name, age in (("old", timedelta(hours=2)), ("new", timedelta(minutes=59))):
        await api.make(f"{CORE}/events", event(name, age))
    later = ServerState(
        api.state.config,
        api.state.store,
        api.state.cache,
        lambda: datetime.now(UTC) + timedelta(minutes=61),
    )
    await expire_events(api.state)
    assert len((await api("GET", f"{CORE}/events"))["items"]) == 2  # both have just been created
    await expire_events(later)
    left = (await api("GET", f"{CORE}/events"))["items"]
    assert left == []


async def test_events_live_as_long_as_the_server_is_told(api: Api):
    await api.make(f"{CORE}/events", event("old", timedelta(minutes=50)))
    for life, left in ((timedelta(minutes=30), 1), (timedelta(minutes=10), 0)):
        later = ServerState(
            replace(api.state.config, event_life=life),
            api.state.store,
            api.state.cache,
            lambda: datetime.now(UTC) + timedelta(minutes=20),
        )
        await expire_events(later)
        assert len((await api("GET", f"{CORE}/events"))["items"]) == left


async def test_history_is_compacted_one_interval_late(api: Api):
    before = api.state.store.revision
    keeper = asyncio.create_task(upkeep(api.state, interval=0.05))
    await api.make(f"{CORE}/configmaps", config_map())
    async with asyncio.timeout(60):
        while api.state.store.compacted < before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert (await api("GET", f"{CORE}/configmaps/a")).code == 200


@pytest.mark.parametrize("compacted", [0, 2])
async def test_a_started_cache_has_the_objects_and_the_last_changes(compacted: int):
    store = MemoryStore()
    await store.commit(Create(KEY, VALUE), Create("/claims/ip/10.0.0.1", b"u"))
    await store.commit(Update(KEY, VALUE))
    await store.compact(compacted)
    await store.commit(Delete(KEY), Create(KEY + "b", VALUE))
    cache = WatchCache(store)
    await cache.start()
    found = cache.of(CONFIG_MAP)
    assert [item.key for item in found.items()] == [KEY + "b"]
    assert cache.claims == {"/claims/ip/10.0.0.1"}
    changes = found.changes(compacted)
    assert changes is not None
    assert len(changes) == 4 - compacted
    assert (found.changes(1) is None) == (compacted == 2)
    await cache.stop()
    await store.close()


async def test_a_cache_behind_a_compaction_starts_over_and_logs_it():
    store = MemoryStore()
    await store.commit(Create(KEY, VALUE))
    cache = WatchCache(store)
    await cache.start()
    told: list[object] = []
    cache.of(CONFIG_MAP).listeners.add(told.append)
    await store.commit(Update(KEY, VALUE))
    await store.compact(store.revision)  # before the cache has had a chance to read on
    assert await cache.fresh() == store.revision
    assert told == [None]
    assert [item.revision for item in cache.of(CONFIG_MAP).items()] == [2]
    await cache.stop()
    await store.close()


async def _server(store: MemoryStore, address: str, clock: list[float]) -> ServerState:
    config = ApiServerConfig(advertise_address=address, port=6443)
    presence = Presence(lambda: clock[0])
    state = ServerState(config, store, WatchCache(store), presence=presence)
    await state.cache.start()
    await bootstrap(state)
    return state


async def _published(state: ServerState) -> list[str]:
    """The servers' addresses, which both kinds of endpoints have."""
    await state.cache.fresh()
    (slice_,) = [i.wire for i in _items(state, "EndpointSlice")]
    (endpoints,) = [i.wire for i in _items(state, "Endpoints")]
    assert (slice_["addressType"], slice_["ports"][0]["port"]) == ("IPv4", 6443)
    found = [each["addresses"][0] for each in slice_["endpoints"]]
    assert endpoints["subsets"][0]["addresses"] == [{"ip": each} for each in found]
    return found


async def test_the_endpoints_of_kubernetes_are_all_servers_that_live():
    clock, store = [0.0], MemoryStore()
    one, two = [await _server(store, f"192.0.2.{n}", clock) for n in (1, 2)]
    assert await _published(one) == ["192.0.2.1", "192.0.2.2"]
    for clock[0] in (10.0, 20.0, 30.0):  # the second one is silent
        await bootstrap(one)
    assert await _published(one) == ["192.0.2.1"]
    assert [r.key for r in (await store.list(PREFIX)).records] == [f"{PREFIX}192.0.2.1"]
    await bootstrap(two)  # it lives after all
    await bootstrap(one)
    assert await _published(one) == ["192.0.2.1", "192.0.2.2"]
    await leave(one)
    assert await _published(two) == ["192.0.2.2"]
    await leave(two)  # of the last one they stay
    assert await _published(two) == ["192.0.2.2"]
    for state in (one, two):
        await state.cache.stop()
    await store.close()


async def test_a_server_starts_with_large_objects_of_its_own(api: Api, api_server: ApiServer):
    note = {"metadata": {"annotations": {"note": "x" * 200_000}}}
    for path in ("/api/v1/namespaces/default", f"{CORE}/services/kubernetes"):
        assert (await api("PATCH", path, note, MERGE)).code == 200
    await bootstrap(api_server.state)
    assert (await api("GET", path))["metadata"]["annotations"] == note["metadata"]["annotations"]


def _items(state: ServerState, name: str) -> list[Item]:
    return [i for kind in KINDS if kind.name == name for i in state.cache.of(kind).items()]


async def test_deleted_cluster_objects_are_created_again(api: Api):
    path = f"{CORE}/services/kubernetes"
    assert (await api("DELETE", path)).code == 200
    keeper = asyncio.create_task(keep(api.state, interval=0.02))
    async with asyncio.timeout(60):
        while (await api("GET", path)).code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert (await api("GET", path))["spec"]["clusterIP"] == "10.96.0.1"


async def test_who_signs_clients_is_published_beside_other_servers_authorities(tmp_path):
    """The scheduler and the controller manager read it before they serve; text in it is let go."""
    own, other = create_authority("own"), create_authority("other")
    own.save(tmp_path, "ca")
    config = ApiServerConfig(client_ca=tmp_path / "ca.crt")
    state = ServerState(config, store := MemoryStore(), WatchCache(store))
    await state.cache.start()
    await bootstrap(state)
    key = f"/registry/core/configmaps/{trust.NAMESPACE}/{trust.NAME}"
    pem = own.certificate.decode()
    await state.cache.fresh()
    item = state.cache.of(CONFIG_MAP).get(key)
    assert item is not None
    assert item.wire["data"] == {"client-ca-file": pem}
    changed = {"client-ca-file": other.certificate.decode() + "hello\n" + pem}
    assert trust.published(trust.CLIENT, changed, own.certificate, state.now()) == {
        "client-ca-file": other.certificate.decode() + pem
    }
    ended = state.now() + timedelta(days=4000)
    assert trust.published(trust.CLIENT, changed, own.certificate, ended) == {}
    names = "requestheader-allowed-names"
    for before, own_names, want in (("[]", ["a"], '["a"]'), ('["b",1]', ["a"], '["b","a"]')):
        assert trust.headers({names: before}, own_names)[names] == want
    for before in ("{", "7", '["b"]'):
        assert trust.headers({names: before}, [])[names] == "[]"  # every name is allowed
    await state.cache.stop()
    await store.close()


async def test_a_node_may_be_created_with_its_status(api: Api):
    node = {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2"}}}
    made = await api.make("/api/v1/nodes", node)
    assert made["status"]["allocatable"] == {"cpu": "2"}


async def test_reviews_are_answered(api: Api):
    path = "/apis/authorization.k8s.io/v1"
    ask = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    assert (await api("POST", f"{path}/selfsubjectaccessreviews", ask))["status"] == {
        "allowed": True
    }
    both = {"spec": ask["spec"] | {"nonResourceAttributes": {"verb": "get", "path": "/"}}}
    refused = await api("POST", f"{path}/selfsubjectaccessreviews", both)
    assert refused.code == 422
    assert refused["message"] == (
        'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.nonResourceAttributes:'
        ' Invalid value: {"verb":"get","path":"/"}: cannot be specified in combination with'
        " resourceAttributes"
    )
    nobody = {"spec": ask["spec"] | {"user": "system:anonymous"}}
    assert (await api("POST", f"{path}/subjectaccessreviews", nobody))["status"] == {
        "allowed": False
    }
    rules = await api("POST", f"{path}/selfsubjectrulesreviews", {"spec": {"namespace": "x"}})
    assert rules["status"]["resourceRules"]
    tokens = "/apis/authentication.k8s.io/v1/tokenreviews"
    unknown = await api("POST", tokens, {"spec": {"token": "x"}})
    assert unknown["status"] == {"error": "invalid bearer token", "user": {}}
    assert (await api("GET", tokens)).code == 405


async def test_health_names_its_checks(api: Api):
    assert (await api("GET", "/livez")).body == "ok"
    verbose = (await api("GET", "/readyz?verbose")).body
    assert verbose == "[+]ping ok\n[+]informer-sync ok\nreadyz check passed\n"
    # after a write the cache is behind for a moment: a server in use is alive nevertheless
    alive = (await api("GET", "/healthz?verbose")).body
    assert alive == "[+]ping ok\nhealthz check passed\n"
    assert (await api("GET", "/readyz/ping?verbose")).body == "ok"
    partly = (await api("GET", "/livez?verbose&exclude=ping&exclude=x")).body
    no_match = 'warn: some health checks cannot be excluded: no matches for "x"'
    assert partly == f"[+]ping excluded: ok\n{no_match}\nlivez check passed\n"
    assert (await api("POST", "/readyz")).code == 405
