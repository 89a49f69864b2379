"""The failures of a store in a file: kill -9, a full disk, two owners."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.store import StoreUrlError, open_store
from control.store.base import (
    Create,
    Delete,
    StoreDamagedError,
    StoreFullError,
    StoreUnavailableError,
    Update,
)
from control.store.sqlite import store as store_module
from control.store.sqlite.store import SqliteStore

# Writes for ever, and says what was acknowledged.
_WRITER = """
import asyncio, sys
from pathlib import Path
from control.store.base import Create
from control.store.sqlite.store import SqliteStore

async def write(store, lane):
    for n in range(100_000):
        await store.commit(Create(f"/{lane}/{n:06}", b"x" * 300))
        print(lane, n, flush=True)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, lane) for lane in range(8)))

asyncio.run(main())
"""


async def test_acknowledged_commits_survive_kill_9(tmp_path: Path):
    path = tmp_path / "store.db"
    for round_ in range(3):
        acknowledged = await asyncio.to_thread(_write_and_kill, path, lines=200 * (round_ + 1))
        store = await SqliteStore.open(path)
        keys = {record.key for record in (await store.list("/")).records}
        assert acknowledged <= keys
        assert store.revision == len(keys)  # a commit is one key: none is half there
        await store.close()
        path.unlink()


def _write_and_kill(path: Path, lines: int) -> set[str]:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += [line for line in process.stdout if line.endswith("\n")]
    return {f"/{lane}/{int(n):06}" for lane, n in (line.split() for line in said)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_is_an_error_and_loses_nothing(small_disk: Path):
    store = await SqliteStore.open(small_disk / "store.db")
    written: dict[str, bytes] = {}
    with pytest.raises(StoreUnavailableError, match="full"):
        for n in range(1000):
            value = os.urandom(5000)
            await store.commit(Create(f"/{n:04}", value))
            written[f"/{n:04}"] = value
    assert {r.key: r.value for r in (await store.list("/")).records} == written
    assert store.revision == len(written)
    await store.close()
    again = await SqliteStore.open(small_disk / "store.db")
    assert {r.key: r.value for r in (await again.list("/")).records} == written
    await again.close()


async def test_writes_succeed_again_after_a_full_disk(small_disk: Path):
    store = await SqliteStore.open(small_disk / "store.db")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_500_000)
    with pytest.raises(StoreUnavailableError):
        await store.commit(Create("/a", b"x" * 900_000))
    ballast.unlink()
    assert await store.commit(Create("/a", b"x" * 100_000)) == 1
    await store.close()


async def test_commits_that_arrive_together_share_a_transaction(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    groups: list[int] = []
    write = store._log.write

    def counting(last: int, group: list[object]) -> object:
        groups.append(len(group))
        return write(last, group)

    store._log.write = counting  # type: ignore[assignment,method-assign]
    await asyncio.gather(*(store.commit(Create(f"/{n}", b"")) for n in range(300)))
    assert sum(groups) == 300
    assert len(groups) < 30
    await store.close()


async def test_a_stale_write_does_not_fail_others_in_its_transaction(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.commit(Create("/a", b"1"))
    results = await asyncio.gather(
        store.commit(Create("/b", b"1")),
        store.commit(Update("/a", b"2", 99)),
        store.commit(Create("/c", b"1")),
        return_exceptions=True,
    )
    assert [results[0], results[2]] == [2, 3]
    assert isinstance(results[1], Exception)
    await store.close()


async def test_a_cancelled_caller_does_not_stop_its_write(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    leaving = asyncio.create_task(store.commit(Create("/a", b"1")))
    await asyncio.sleep(0)
    leaving.cancel()
    await store.commit(Create("/b", b"1"))
    assert [r.key for r in (await store.list("/")).records] == ["/a", "/b"]
    await store.close()


async def test_a_store_has_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "_LOCK_WAIT", 0.1)
    store = await SqliteStore.open(tmp_path / "store.db")
    with pytest.raises(StoreUnavailableError, match="another API server is using it"):
        await SqliteStore.open(tmp_path / "store.db")
    await store.close()
    await (await SqliteStore.open(tmp_path / "store.db")).close()


@pytest.mark.parametrize("link", ["symbolic", "hard"])
async def test_a_store_has_one_owner_by_all_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
):
    monkeypatch.setattr(store_module, "_LOCK_WAIT", 0.1)
    store = await SqliteStore.open(tmp_path / "store.db")
    other = tmp_path / "other.db"
    if link == "symbolic":
        other.symlink_to(tmp_path / "store.db")
    else:
        other.hardlink_to(tmp_path / "store.db")
    with pytest.raises(StoreUnavailableError, match="another API server is using it"):
        await SqliteStore.open(other)
    assert await store.commit(Create("/a", b"1")) == 1
    await store.close()
    again = await SqliteStore.open(tmp_path / "store.db")
    assert again.revision == 1
    await again.close()


async def test_a_link_to_no_file_makes_the_file(tmp_path: Path):
    (tmp_path / "link.db").symlink_to(tmp_path / "store.db")
    await (await SqliteStore.open(tmp_path / "link.db")).close()
    assert (tmp_path / "store.db").stat().st_size


async def test_a_store_that_was_cut_is_refused(tmp_path: Path):
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    for n in range(40):
        await store.commit(Create(f"/{n:03}", b"x" * 300))
    await store.close()
    whole = path.read_bytes()
    for size in range(0, len(whole), 4096):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreDamagedError, match=r"damaged|was cut") as caught:
            await SqliteStore.open(path)
        assert str(path) in str(caught.value) and "copy" in str(caught.value)
    path.write_bytes(whole)
    await (await SqliteStore.open(path)).close()


async def test_no_changed_byte_is_served(tmp_path: Path):
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    for n in range(8):
        await store.commit(Create(f"/{n}", b'{"metadata":{}}' * 20))
    await store.commit(Delete("/3"))
    await store.close()
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            store = await SqliteStore.open(path)
        except StoreUnavailableError:
            refused += 1
            continue
        page = await store.list("/")  # the byte was in no use
        assert [(r.key, r.value) for r in page.records] == [
            (f"/{n}", b'{"metadata":{}}' * 20) for n in range(8) if n != 3
        ]
        assert store.revision == 9
        await store.close()
    assert refused >= 20
    path.write_bytes(whole.replace(b"metadata", b"metadat\0", 1))
    with pytest.raises(StoreDamagedError, match=r"/\d at revision \d.*sqlite3"):
        await SqliteStore.open(path)


async def test_damage_while_the_store_is_open_is_an_error(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.commit(Create("/a", b"1"))
    store._log._db.execute("UPDATE log SET value = x'00'")
    for read in (store.get("/a"), store.list("/")):
        with pytest.raises(StoreDamagedError, match="/a at revision 1"):
            await read
    await store.close()


async def test_a_store_without_checksums_gets_them(tmp_path: Path):
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE log (key TEXT, revision INTEGER, value BLOB)")
        old.execute("INSERT INTO log VALUES ('/a', 1, x'31'), ('/b', 2, NULL)")
        old.commit()
    for _ in range(2):
        store = await SqliteStore.open(path)
        assert [(r.key, r.value) for r in (await store.list("/")).records] == [("/a", b"1")]
        await store.close()


async def test_a_quota_refuses_writes_and_allows_removals(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db", quota=200_000)
    written = 0
    with pytest.raises(StoreFullError, match="quota of 200000 bytes: remove objects"):
        for written in range(1000):
            await store.commit(Create(f"/{written}", b"x" * 5000))
    assert 20 <= written <= 40
    with pytest.raises(StoreFullError):
        await store.commit(Update("/0", b"x" * 5000))
    for n in range(written):
        await store.commit(Delete(f"/{n}"))
    await store.compact(store.revision)
    await store.commit(Create("/again", b"x" * 5000))
    await store.close()


@pytest.mark.parametrize(("quota", "is_full"), [(0, False), (-1, False), (30_000, True)])
async def test_the_quota_is_an_option(tmp_path: Path, quota: int, is_full: bool):
    store = await open_store(f"sqlite:{tmp_path}/store.db", quota)
    refused = pytest.raises(StoreFullError, match="quota of 30000 bytes")
    with refused if is_full else contextlib.nullcontext():
        await store.commit(Create("/a", b"x" * 30_000))
    await store.close()


async def test_revisions_continue_after_a_full_compaction(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.commit(Create("/a", b"1"))
    await store.commit(Delete("/a"))
    await store.compact(2)
    await store.close()
    again = await SqliteStore.open(tmp_path / "store.db")
    assert (again.revision, again.compacted) == (2, 2)
    assert await again.commit(Create("/b", b"1")) == 3
    await again.close()


async def test_certificate_files_are_private(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.commit(Create("/a", b"1"))
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)}
    assert set(modes.values()) == {0o600}, modes
    await store.close()


async def test_closing_leaves_no_thread(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.list("/")
    await store.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store-")]


@pytest.mark.parametrize("url", ["", "sqlite:", "etcd:x", "sqlite:a?sync=maybe", "store.db"])
async def test_a_malformed_store_url_is_refused_in_one_line(url: str):
    with pytest.raises(StoreUrlError, match=r"expected (sqlite:PATH|etcd:http)"):
        await open_store(url)


async def test_a_missing_directory_is_named(tmp_path: Path):
    with pytest.raises(StoreUnavailableError, match="No such file"):
        await open_store(f"sqlite:{tmp_path}/none/store.db")


async def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path):
    (tmp_path / "store.db").write_bytes(b"hello " * 1000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        await open_store(f"sqlite:{tmp_path}/store.db?sync=normal")
