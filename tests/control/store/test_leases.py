"""Events in etcd end by leases, many by one."""

import asyncio
from pathlib import Path

import pytest

from control.store.base import Create, Delete, Update
from control.store.etcd.connection import EtcdConnection, Method, members
from control.store.etcd.leases import EXPIRING, Leases
from control.store.etcd.store import EtcdStore
from control.store.etcd.v3 import rpc_pb2 as pb
from tests.support.control.etcd import leases_of, shared_etcd

EVENT = EXPIRING.decode() + "default/"
REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)


class Granted:
    """Says which leases were asked for, by a clock that stands still."""

    def __init__(self) -> None:
        self.seconds: list[int] = []
        self.now = 0.0

    async def __call__(self, seconds: int) -> int:
        self.seconds.append(seconds)
        return len(self.seconds)

    def leases(self, life: int) -> Leases:
        return Leases(self, life, lambda: self.now)


async def test_keys_of_a_minute_share_a_lease_that_lasts_so_much_longer() -> None:
    granted = Granted()
    leases = granted.leases(3600)
    assert [await leases.give(n) for n in (1, 0, 3)] == [1, 0, 1]
    granted.now = 60.0
    assert await leases.give(1) == 1
    granted.now = 60.1
    assert await leases.give(1) == 2
    assert granted.seconds == [3660, 3660]


async def test_a_lease_has_a_thousand_keys_at_most() -> None:
    leases = Granted().leases(3600)
    assert [await leases.give(500) for _ in range(3)] == [1, 1, 2]


async def test_many_at_once_ask_for_one_lease() -> None:
    granted = Granted()
    leases = granted.leases(3600)
    assert {*await asyncio.gather(*(leases.give(1) for _ in range(50)))} == {1}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"{shared_etcd().url}?prefix={tmp_path}"


async def test_events_go_by_themselves_and_nothing_else_does(url: str) -> None:
    store = await EtcdStore.open(members(url), event_life=1)
    await store.commit(Create(f"{EVENT}a", b"1"))
    await store.commit(Create(f"{EVENT}b", b"1"))
    await store.commit(Update(f"{EVENT}a", b"2"))
    await store.commit(Create("/registry/core/pods/default/p", b"1"))
    found = await leases_of(url)
    assert found.pop("/registry/core/pods/default/p") == 0
    assert len({*found.values()}) == 1
    assert 0 not in found.values()
    async with asyncio.timeout(60):
        async for heard in store.watch("/", store.revision):
            if heard.events:
                break
    assert {(e.key, e.value) for e in heard.events} == {(f"{EVENT}{n}", None) for n in "ab"}
    assert [r.key for r in (await store.list("/")).records] == ["/registry/core/pods/default/p"]
    await store.close()


async def test_a_lease_that_has_gone_is_replaced(url: str) -> None:
    store = await EtcdStore.open(members(url))
    await store.commit(Create(f"{EVENT}a", b"1"))
    (lease,) = (await leases_of(url)).values()
    connection = EtcdConnection(members(url))
    await connection.call(REVOKE, pb.LeaseRevokeRequest(ID=lease))
    connection.close()
    await store.commit(Create(f"{EVENT}b", b"1"))
    found = await leases_of(url)
    assert found.keys() == {f"{EVENT}b"}
    assert found[f"{EVENT}b"] not in (0, lease)
    await store.commit(Delete(f"{EVENT}b"))
    await store.close()
