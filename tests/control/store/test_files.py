"""Files of a store that go missing are noticed; a kill at any line is not taken for it."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from control.store.base import (
    Create,
    StoreDamagedError,
    StoreUnavailableError,
)
from control.store.sqlite import files
from control.store.sqlite.store import SqliteStore

# Commits some keys, and ends without a word.
_KILLED = """
import asyncio, os, sys
from pathlib import Path
from control.store.base import Create
from control.store.sqlite.store import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), synchronous=sys.argv[3])
    for n in range(int(sys.argv[2])):
        await store.commit(Create(f"/{n:02}", b"x" * 3000))
    os._exit(9)

asyncio.run(main())
"""


async def killed(path: Path, commits: int, synchronous: str = "FULL") -> None:
    """Make a store in a process that does not end well."""
    command = [sys.executable, "-c", _KILLED, str(path), str(commits), synchronous]
    ended = await asyncio.to_thread(subprocess.run, command, check=False)
    assert ended.returncode == 9


async def keys_of(path: Path) -> list[str]:
    store = await SqliteStore.open(path)
    try:
        return [record.key for record in (await store.list("/")).records]
    finally:
        await store.close()


def names_in(folder: Path) -> list[str]:
    return sorted(it.name for it in folder.iterdir())


def removed(log: Path) -> None:
    log.unlink()


def emptied(log: Path) -> None:
    log.write_bytes(b"")


def cut(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 5000)


def flipped(log: Path) -> None:
    whole = bytearray(log.read_bytes())
    whole[-5000] ^= 1
    log.write_bytes(whole)


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
@pytest.mark.parametrize("damage", [removed, emptied, cut, flipped])
async def test_commits_that_are_gone_after_a_kill_are_noticed(
    tmp_path: Path, damage: Callable[[Path], None], synchronous: str
):
    path, log = tmp_path / "store.db", tmp_path / "store.db-wal"
    await killed(path, 20, synchronous)
    kept = log.read_bytes()
    damage(log)
    left = log.read_bytes() if log.exists() else b""
    for _ in range(2):  # the first refusal must not make the second start look well
        with pytest.raises(StoreDamagedError, match=r"20 was written: .*store\.db-wal"):
            await SqliteStore.open(path)
        assert log.read_bytes() == left
    log.write_bytes(kept)
    assert await keys_of(path) == [f"/{n:02}" for n in range(20)]
    assert names_in(tmp_path) == ["store.db"]


async def test_the_end_of_the_machine_may_take_the_last_commits_without_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "store.db"
    await killed(path, 3, "NORMAL")
    cut(tmp_path / "store.db-wal")
    monkeypatch.setattr(files, "_BOOT", tmp_path / "boot")
    (tmp_path / "boot").write_text("another-boot\n")
    assert len(await keys_of(path)) < 3


async def test_a_removed_store_begins_anew(tmp_path: Path):
    path = tmp_path / "store.db"
    await killed(path, 3)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink()
    assert await keys_of(path) == []


async def test_a_log_without_its_store_is_noticed(tmp_path: Path):
    path = tmp_path / "store.db"
    await killed(path, 3)
    path.rename(tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match=r"it was removed, but .*store\.db-wal has"):
            await SqliteStore.open(path)
    (tmp_path / "aside").rename(path)
    assert len(await keys_of(path)) == 3


async def test_another_program_may_move_the_log_into_the_store(tmp_path: Path):
    """As sqlite3 does when it ends, for example after .backup or .recover."""
    path = tmp_path / "store.db"
    await killed(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM log").fetchone() == (3,)
    assert not (tmp_path / "store.db-wal").exists()
    assert len(await keys_of(path)) == 3


async def test_a_store_goes_on_without_its_log_if_told_so(tmp_path: Path):
    path = tmp_path / "store.db"
    await killed(path, 20)
    (tmp_path / "store.db-wal").unlink()
    (tmp_path / "store.db-last").unlink()
    store = await SqliteStore.open(path)
    assert await store.commit(Create("/new", b"1")) == store.revision
    await store.close()


@pytest.mark.parametrize("mark", [b"", b"\0" * 58, b"\xff\xfe", b"x y z", b"9" * 5000])
async def test_a_mark_that_cannot_be_read_is_no_damage(tmp_path: Path, mark: bytes, caplog: Any):
    path = tmp_path / "store.db"
    await killed(path, 3)
    (tmp_path / "store.db-last").write_bytes(mark)
    assert len(await keys_of(path)) == 3
    assert "store.db-last" in caplog.text and "would not be noticed" in caplog.text


async def test_a_mark_that_cannot_be_written_fails_no_commit(tmp_path: Path, caplog: Any):
    path = tmp_path / "store.db"
    (tmp_path / "store.db-last").mkdir()
    store = await SqliteStore.open(path)
    for n in range(3):
        await store.commit(Create(f"/{n}", b"1"))
    await store.close()
    assert caplog.text.count("store.db-last: Is a directory: lost commits") == 1
    assert len(await keys_of(path)) == 3


@pytest.mark.parametrize("name", ["store.db-wal", "store.db"])
async def test_files_that_go_while_the_store_is_open_are_noticed(tmp_path: Path, name: str):
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    for n in range(20):
        await store.commit(Create(f"/{n:02}", b"x" * 3000))
    gone, aside = tmp_path / name, tmp_path / "aside"
    aside.hardlink_to(gone)
    gone.unlink()
    with pytest.raises(StoreUnavailableError, match=f"{name} was removed or replaced"):
        await store.commit(Create("/lost", b"1"))
    assert len((await store.list("/")).records) == 20
    if name == "store.db":
        aside.rename(path)
        await store.commit(Create("/put-back", b"1"))
    else:  # all is in the file: a kill would lose nothing
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        assert len(await keys_of(copy)) == 20
    await store.close()
    assert len(await keys_of(path)) >= 20


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file system without a disk: what is killed here is the process, not the machine."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_kill_at_any_line_is_no_damage(memory: Path):
    command = [sys.executable, "-m", "tests.support.control.kills", str(memory)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 100
