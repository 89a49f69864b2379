"""The failures of a store in a file: kill -9, a full disk, two owners."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.store import StoreUrlError, open_store
from control.store.base import Create, Delete, StoreUnavailableError, Update
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
    with pytest.raises(StoreUrlError, match="expected sqlite:PATH"):
        await open_store(url)


async def test_a_missing_directory_is_named(tmp_path: Path):
    with pytest.raises(StoreUnavailableError, match="No such file"):
        await open_store(f"sqlite:{tmp_path}/none/store.db")


async def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path):
    (tmp_path / "store.db").write_bytes(b"hello " * 1000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        await open_store(f"sqlite:{tmp_path}/store.db?sync=normal")
