"""The store in etcd, beyond the contract: members that fail, TLS, and what others write."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from control.pki import Identity, create_authority, issue
from control.store import StoreUrlError, open_store
from control.store.base import (
    MAX_BYTES,
    CompactedError,
    Create,
    Heard,
    KeyExistsError,
    Store,
    StoreUnavailableError,
    TooLargeError,
    Update,
)
from control.store.etcd import messages
from control.store.etcd.connection import members
from tests.support.control.etcd import Etcd, etcd_cluster, shared_etcd

PATIENCE = 60.0


async def shared(prefix: object) -> Store:
    return await open_store(f"etcd:{shared_etcd().url}?prefix={prefix}")


async def keys(events: AsyncGenerator[Heard, None], last: str) -> list[str]:
    """The keys that a watch brings, until one that is the last."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not found or found[-1] != last:
            found += [event.key for event in (await anext(events)).events]
    return found


async def write(store: Store, key: str) -> bool:
    """Create a key for sure; what was refused may have been done. Return if it was refused."""
    refused = False
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await store.commit(Create(key, b"x"))
            except StoreUnavailableError:
                refused = True
                await asyncio.sleep(0.02)
            except KeyExistsError:
                assert refused, "nobody else writes it"
                return True
            else:
                return refused


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "expected etcd:http://HOST:PORT"),
        ("127.0.0.1:2379", "expected etcd:http://HOST:PORT"),
        ("http://a:2379,https://b:2379", "expected etcd:http://HOST:PORT"),
        ("http://a:99999", "out of range"),
        ("http://a?catfile=x", "unknown option catfile"),
        ("https://a?cacert=/absent", "certificates cannot be read"),
    ],
)
def test_a_url_that_names_no_etcd_is_refused(url: str, why: str) -> None:
    with pytest.raises(StoreUrlError, match=why):
        members(url)


def test_members_have_hosts_and_ports() -> None:
    found = members("http://a,http://[::1]:2380?prefix=/one")
    assert found.addresses == (("a", 2379), ("::1", 2380))
    assert (found.tls, found.prefix) == (None, "/one")


@pytest.mark.parametrize(("prefix", "end"), [(b"/a/", b"/a0"), (b"a\xff", b"b"), (b"\xff", b"\0")])
def test_a_range_ends_after_the_last_key_of_its_prefix(prefix: bytes, end: bytes) -> None:
    assert messages.end_of(prefix) == end


async def test_another_servers_writes_are_seen_by_reads_and_watches(tmp_path: Path) -> None:
    ours, theirs = await shared(tmp_path), await shared(tmp_path)
    try:
        events = ours.watch("/", ours.revision)
        revision = await theirs.commit(Create("/a", b"1"))
        assert await ours.newest() >= revision
        found = await ours.get("/a")
        assert found and found.value == b"1"
        assert await keys(events, "/a") == ["/a"]
        with pytest.raises(KeyExistsError):
            await ours.commit(Create("/a", b"2"))
        await events.aclose()
    finally:
        await ours.close()
        await theirs.close()


async def test_another_prefix_is_another_store(tmp_path: Path) -> None:
    one, other = await shared(tmp_path / "1"), await shared(tmp_path / "2")
    try:
        await one.commit(Create("/a", b"1"))
        assert await other.get("/a") is None
        assert (await other.list("/")).records == ()
    finally:
        await one.close()
        await other.close()


async def test_what_another_server_compacted_is_gone_here(tmp_path: Path) -> None:
    ours, theirs = await shared(tmp_path), await shared(tmp_path)
    try:
        start = ours.revision
        for number in range(4):
            await theirs.commit(Create(f"/{number}", b""))
        await theirs.compact(theirs.revision)
        with pytest.raises(CompactedError) as gone:
            await ours.list("/", revision=start + 1)
        assert gone.value.oldest == ours.compacted == theirs.compacted
        await ours.compact(start + 1)  # another was first
        with pytest.raises(CompactedError):
            await anext(ours.watch("/", start))
    finally:
        await ours.close()
        await theirs.close()


async def test_a_list_of_many_pages_is_of_one_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_PAGE", 2)
    store = await shared(tmp_path)
    try:
        for number in range(5):
            await store.commit(Create(f"/a/{number}", b""))
        await store.commit(Create("/b/0", b""))
        page = await store.list("/a/")
        assert [one.key for one in page.records] == [f"/a/{number}" for number in range(5)]
        assert (page.revision, page.more) == (store.revision, False)
        page = await store.list("/a/", limit=3)
        assert (len(page.records), page.more) == (3, True)
    finally:
        await store.close()


async def test_what_etcd_finds_too_large_is_too_large(tmp_path: Path) -> None:
    store = await shared(tmp_path)
    try:
        with pytest.raises(TooLargeError):
            await store.commit(Create("/a", bytes(MAX_BYTES - 10)))
        assert await store.get("/a") is None
    finally:
        await store.close()


async def test_a_dead_member_is_passed_over(tmp_path: Path) -> None:
    dead = Etcd(tmp_path)
    store = await open_store(f"etcd:{dead.url},{shared_etcd().url}?prefix={tmp_path}")
    await store.commit(Create("/a", b""))
    await store.close()


async def test_an_etcd_that_is_away_is_an_error_and_then_is_well(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path)
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{etcd.port} does not answer"):
        await open_store(f"etcd:{etcd.url}")
    etcd.start()
    etcd.wait()
    store = await open_store(f"etcd:{etcd.url}")
    try:
        first = await store.commit(Create("/a", b""))
        events = store.watch("/", first)
        etcd.kill()
        with pytest.raises(StoreUnavailableError):
            await store.commit(Update("/a", b"2"))
        with pytest.raises(StoreUnavailableError):
            await store.get("/a")
        etcd.start()
        etcd.wait()
        await write(store, "/b")
        await write(store, "/c")
        assert await keys(events, "/c") == ["/b", "/c"]
        await events.aclose()
    finally:
        await store.close()
        etcd.kill()


async def test_no_acknowledged_write_is_lost_and_no_event_while_members_die(tmp_path: Path) -> None:
    """Each member is killed in turn, the leader among them, under four writers and a watch."""
    with etcd_cluster(tmp_path) as cluster:
        store = await open_store(f"etcd:{','.join(member.url for member in cluster)}")
        events = store.watch("/", store.revision)
        ended = asyncio.Event()

        async def writer(name: int) -> list[str]:
            written: list[str] = []
            while not ended.is_set():
                await write(store, key := f"/{name}/{len(written):05}")
                written.append(key)
            return written

        writers = [asyncio.create_task(writer(number)) for number in range(4)]
        try:
            for member in cluster:
                await write(store, f"/before/{member.name}")
                member.kill()
                await write(store, f"/without/{member.name}")
                member.start()
                await asyncio.to_thread(member.wait)
            ended.set()
            written = {key for each in await asyncio.gather(*writers) for key in each}
            await write(store, "/last")
            heard = await keys(events, "/last")
            assert len(heard) == len(set(heard)), "an event came twice"
            stored = {record.key for record in (await store.list("/")).records}
            assert written <= stored == set(heard)
            await events.aclose()
        finally:
            ended.set()
            await asyncio.gather(*writers, return_exceptions=True)
            await store.close()


async def test_certificates_are_asked_for_and_shown(tmp_path: Path) -> None:
    authority = create_authority("authority")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    issue(authority, Identity("etcd", hosts=("127.0.0.1",))).save(tmp_path, "server")
    issue(authority, Identity("podwire")).save(tmp_path, "client")
    files = {"cert-file": "server.crt", "key-file": "server.key", "trusted-ca-file": "ca.crt"}
    more = [f"--{name}={tmp_path / file}" for name, file in files.items()]
    etcd = Etcd(tmp_path, more=(*more, "--client-cert-auth"), scheme="https")
    etcd.start()
    etcd.wait()
    try:
        asked = f"etcd:{etcd.url}?cacert={tmp_path}/ca.crt"
        store = await open_store(f"{asked}&cert={tmp_path}/client.crt&key={tmp_path}/client.key")
        await store.commit(Create("/a", b""))
        await store.close()
        with pytest.raises(StoreUnavailableError):
            await open_store(asked)
    finally:
        etcd.kill()
