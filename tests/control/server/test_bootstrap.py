"""What the API server makes for itself: it is valid, and is looked at without a write."""

from pathlib import Path

import pytest

from control.api.errors import errors_in_new
from control.api.kinds import ENDPOINT_SLICE, ENDPOINTS, PRIORITY_CLASS, SERVED, SERVICE, Kind
from control.server.bootstrap import bootstrap
from control.server.state.server import ApiServerConfig, ServerState
from control.server.state.watch_cache import WatchCache
from control.server.wire.decode import parse
from control.store.base import Write
from control.store.memory import MemoryStore
from tests.support.control.secured import secured_server


async def test_all_that_the_server_makes_for_itself_is_valid(tmp_path: Path):
    seen = set()
    async with secured_server(tmp_path, modes=("Node", "RBAC")) as server:
        for kind in SERVED:
            if kind.form is not None:
                continue  # another view of the same objects
            for item in server.state.cache.of(kind).items():
                assert errors_in_new(kind, parse(kind, item.wire)) == [], item.key
                seen.add(kind.name)
    assert seen >= {
        *("Namespace", "PriorityClass", "FlowSchema", "PriorityLevelConfiguration", "APIService"),
        *("ConfigMap", "ServiceCIDR", "Service", "IPAddress", "ClusterRole", "ClusterRoleBinding"),
        *("Role", "RoleBinding"),
    }


class CountedStore(MemoryStore):
    """Counts the questions and the writes."""

    asked = written = 0

    async def newest(self) -> int:
        self.asked += 1
        return await super().newest()

    async def commit(self, *changes: Write) -> int:
        self.written += 1
        return await super().commit(*changes)


async def test_a_look_at_what_is_right_asks_once_and_writes_nothing():
    store = CountedStore()
    state = ServerState(ApiServerConfig(), store, WatchCache(store))
    await state.cache.start()
    await bootstrap(state)
    store.asked = store.written = 0
    await bootstrap(state)
    assert (store.asked, store.written) == (1, 0)
    key = "/registry/scheduling.k8s.io/priorityclasses/system-node-critical"
    item = state.cache.of(PRIORITY_CLASS).get(key)
    assert item is not None
    assert "node" in item.wire["description"]
    assert state.cache.of(SERVICE).get("/registry/core/services/default/kubernetes") is not None
    await state.cache.stop()


@pytest.mark.parametrize("kind", [ENDPOINTS, ENDPOINT_SLICE], ids=lambda kind: kind.name)
async def test_the_endpoints_of_a_server_that_others_reach_are_valid(kind: Kind):
    store = MemoryStore()
    config = ApiServerConfig(advertise_address="192.0.2.1")
    state = ServerState(config, store, WatchCache(store))
    await state.cache.start()
    await bootstrap(state)
    await state.cache.fresh()
    (item,) = state.cache.of(kind).items()
    assert errors_in_new(kind, parse(kind, item.wire)) == []
    await state.cache.stop()
