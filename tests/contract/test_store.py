"""The contract of every store: one table of tests for all implementations."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from control.store.base import (
    CompactedError,
    Create,
    Delete,
    FutureRevisionError,
    Heard,
    KeyExistsError,
    KeyNotFoundError,
    KeyValue,
    RevisionConflictError,
    Store,
    StoreEvent,
    StoreUnavailableError,
    Update,
)


async def take(events: AsyncGenerator[Heard, None], count: int) -> list[StoreEvent]:
    found: list[StoreEvent] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found.extend((await anext(events)).events)
    return found


async def test_a_new_store_is_empty(store: Store, zero: int):
    assert await store.newest() == zero >= store.compacted
    assert await store.get("/a") is None
    assert (await store.list("/")).records == ()


async def test_a_written_value_can_be_read(store: Store):
    created = await store.commit(Create("/a", b"1"))
    assert await store.get("/a") == KeyValue("/a", b"1", created)
    updated = await store.commit(Update("/a", b"2", created))
    assert updated > created
    assert await store.get("/a") == KeyValue("/a", b"2", updated)
    assert store.revision == updated
    removed = await store.commit(Delete("/a", updated))
    assert await store.get("/a") is None
    assert store.revision == removed > updated


async def test_create_of_an_existing_key_is_refused(store: Store):
    await store.commit(Create("/a", b"1"))
    with pytest.raises(KeyExistsError) as refused:
        await store.commit(Create("/a", b"2"))
    assert refused.value.key == "/a"
    assert (await store.get("/a")).value == b"1"


async def test_a_removed_key_can_be_created_again(store: Store):
    await store.commit(Create("/a", b"1"))
    await store.commit(Delete("/a"))
    again = await store.commit(Create("/a", b"2"))
    assert await store.get("/a") == KeyValue("/a", b"2", again)


@pytest.mark.parametrize("change", [Update("/a", b"x", 7), Update("/a", b"x"), Delete("/a")])
async def test_a_write_of_an_absent_key_is_refused(
    store: Store, zero: int, change: Update | Delete
):
    with pytest.raises(KeyNotFoundError):
        await store.commit(change)
    assert store.revision == zero


async def test_a_stale_write_is_refused_and_names_the_revision(store: Store):
    first = await store.commit(Create("/a", b"1"))
    second = await store.commit(Update("/a", b"2", first))
    for stale in (Update("/a", b"3", first), Delete("/a", first)):
        with pytest.raises(RevisionConflictError) as refused:
            await store.commit(stale)
        assert refused.value.actual == second
    assert await store.get("/a") == KeyValue("/a", b"2", second)


async def test_a_commit_is_all_or_nothing(store: Store):
    await store.commit(Create("/a", b"1"))
    before = store.revision
    with pytest.raises(KeyExistsError):
        await store.commit(Create("/b", b"1"), Create("/a", b"3"))
    with pytest.raises(KeyNotFoundError):
        await store.commit(Delete("/a"), Delete("/c"))
    assert store.revision == before
    assert [record.key for record in (await store.list("/")).records] == ["/a"]


async def test_a_commit_has_one_revision(store: Store):
    revision = await store.commit(Create("/a", b"1"), Create("/b", b"2"))
    assert [r.revision for r in (await store.list("/")).records] == [revision, revision]


async def test_concurrent_writers_of_one_key_leave_one_winner(store: Store):
    first = await store.commit(Create("/a", b"0"))
    tries = [store.commit(Update("/a", str(n).encode(), first)) for n in range(20)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, RevisionConflictError) for result in results) == 19


async def test_concurrent_commits_have_distinct_revisions(store: Store, zero: int):
    revisions = await asyncio.gather(*(store.commit(Create(f"/{n}", b"")) for n in range(600)))
    assert sorted(revisions) == list(range(zero + 1, zero + 601))


async def test_list_is_in_key_order_and_within_its_prefix(store: Store, zero: int):
    for key in ("/b/2", "/a/1", "/b/1", "/bc/1", "/b"):
        await store.commit(Create(key, b"x"))
    assert [r.key for r in (await store.list("/b/")).records] == ["/b/1", "/b/2"]
    assert (await store.list("/b/")).revision == zero + 5


async def test_a_list_continues_after_its_page(store: Store):
    for n in range(5):
        await store.commit(Create(f"/{n}", b"x"))
    page = await store.list("/", limit=2)
    assert ([r.key for r in page.records], page.more) == (["/0", "/1"], True)
    page = await store.list("/", limit=2, after="/1")
    assert ([r.key for r in page.records], page.more) == (["/2", "/3"], True)
    page = await store.list("/", limit=2, after="/3")
    assert ([r.key for r in page.records], page.more) == (["/4"], False)


async def test_list_shows_an_old_revision_as_it_was(store: Store, zero: int):
    first = await store.commit(Create("/a", b"1"))
    await store.commit(Create("/b", b"1"))
    await store.commit(Update("/a", b"2"))
    await store.commit(Delete("/b"))
    then = await store.list("/", revision=zero + 2)
    assert then.records == (KeyValue("/a", b"1", first), KeyValue("/b", b"1", zero + 2))
    assert then.revision == zero + 2
    assert [r.value for r in (await store.list("/", revision=zero + 4)).records] == [b"2"]


async def test_the_future_cannot_be_read(store: Store, zero: int):
    with pytest.raises(FutureRevisionError) as refused:
        await store.list("/", revision=zero + 1)
    assert (refused.value.revision, refused.value.current) == (zero + 1, zero)
    with pytest.raises(FutureRevisionError):
        await store.compact(zero + 1)


async def test_compaction_forgets_history_and_keeps_the_present(store: Store, zero: int):
    await store.commit(Create("/a", b"1"))
    await store.commit(Create("/b", b"1"))
    await store.commit(Update("/a", b"2"))
    await store.commit(Delete("/b"))
    await store.commit(Update("/a", b"3"))
    await store.compact(zero + 4)
    assert store.compacted == zero + 4
    with pytest.raises(CompactedError) as gone:
        await store.list("/", revision=zero + 3)
    assert gone.value.oldest == zero + 4
    then = await store.list("/", revision=zero + 4)
    assert then.records == (KeyValue("/a", b"2", zero + 3),)
    assert await store.get("/a") == KeyValue("/a", b"3", zero + 5)
    await store.compact(zero + 2)
    assert store.compacted == zero + 4


async def test_a_watch_sees_everything_after_its_revision(store: Store, zero: int):
    await store.commit(Create("/a", b"1"))
    await store.commit(Create("/x", b"1"), Create("/b", b"1"))
    events = store.watch("/", zero + 1)
    task = asyncio.create_task(take(events, 4))
    await store.commit(Update("/a", b"2"))
    await store.commit(Delete("/a"))
    assert await task == [
        StoreEvent("/x", zero + 2, b"1"),
        StoreEvent("/b", zero + 2, b"1"),
        StoreEvent("/a", zero + 3, b"2"),
        StoreEvent("/a", zero + 4, None),
    ]
    await events.aclose()


async def test_a_watch_sees_only_its_prefix(store: Store, zero: int):
    events = store.watch("/b/", zero)
    await store.commit(Create("/a/1", b"1"))
    await store.commit(Create("/b/1", b"1"))
    assert await take(events, 1) == [StoreEvent("/b/1", zero + 2, b"1")]
    await events.aclose()


async def test_a_watch_from_the_future_waits_for_it(store: Store, zero: int):
    events = store.watch("/", zero + 2)
    task = asyncio.create_task(take(events, 1))
    for n in range(3):
        await store.commit(Create(f"/{n}", b"x"))
    assert await task == [StoreEvent("/2", zero + 3, b"x")]
    await events.aclose()


async def test_a_watch_far_behind_misses_nothing(store: Store, zero: int):
    await asyncio.gather(*(store.commit(Create(f"/{n}", b"x")) for n in range(1100)))
    events = store.watch("/", zero)
    found = [event.revision - zero for event in await take(events, 1100)]
    assert found == list(range(1, 1101))
    await events.aclose()


async def test_a_watch_of_compacted_history_raises(store: Store, zero: int):
    for n in range(3):
        await store.commit(Create(f"/{n}", b"x"))
    await store.compact(zero + 2)
    with pytest.raises(CompactedError):
        await take(store.watch("/", zero + 1), 1)
    assert await take(store.watch("/", zero + 2), 1) == [StoreEvent("/2", zero + 3, b"x")]


async def test_a_closed_store_refuses_and_ends_watches(store: Store, zero: int):
    await store.commit(Create("/a", b"1"))
    task = asyncio.create_task(take(store.watch("/", zero + 1), 1))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await task
    with pytest.raises(StoreUnavailableError):
        await store.commit(Create("/b", b"1"))
    await store.close()
