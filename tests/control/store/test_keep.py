"""Snapshots, restores, defragmentation and formats, of files and of a real etcd."""

import asyncio
import hashlib
import random
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from control.pki import Identity, create_authority, issue
from control.store import open_store
from control.store.base import Create, Delete, Store, StoreUnavailableError, Update
from control.store.cli import main
from control.store.copy import NotEmptyError
from control.store.etcd.bolt import DamagedFileError
from control.store.etcd.connection import members
from control.store.etcd.snapshot import EtcdSnapshot
from control.store.format import FORMAT, KEY, FormatError, format_of, upgrade
from control.store.keep import defragment, restore, snapshot
from tests.support.control.etcd import Etcd, leases_of, shared_etcd
from tests.support.e2e.harness import CHECKOUT

KINDS = ("sqlite", "etcd")
EVENT = "/registry/core/events/default/"


def url_of(kind: str, folder: Path, name: str = "store") -> str:
    """Return the URL of a store of one kind; ``folder`` and ``name`` make it another one."""
    if kind == "etcd":
        return f"etcd:{shared_etcd().url}?prefix={folder}/{name}"
    return f"sqlite:{folder / name}.db"


def prefix_of(kind: str, url: str) -> str:
    return members(url.removeprefix("etcd:")).prefix if kind == "etcd" else ""


def quiet(*_: object) -> None:
    """Nobody hears how far it is."""


async def filled(url: str) -> tuple[Store, dict[str, bytes]]:
    """A store with keys that were written, changed and removed, small and large."""
    store, wanted = await open_store(url), {}
    for number in range(60):
        key = f"/registry/core/pods/a/{number}"
        wanted[key] = bytes([number]) * (40_000 if number == 7 else 100 * (number % 9))
        await store.commit(Create(key, wanted[key]))
    for number in range(0, 60, 3):
        key = f"/registry/core/pods/a/{number}"
        wanted[key] = b"changed"
        await store.commit(Update(key, b"changed"))
    await store.compact(store.revision)
    for number in range(0, 60, 7):
        del wanted[f"/registry/core/pods/a/{number}"]
        await store.commit(Delete(f"/registry/core/pods/a/{number}"))
    return store, wanted


async def content(url: str) -> dict[str, bytes]:
    store = await open_store(url)
    page = await store.list("/")
    await store.close()
    return {record.key: record.value for record in page.records}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
async def test_a_snapshot_of_a_store_in_use_comes_back_in_any_store(
    source: str, target: str, tmp_path: Path
) -> None:
    old, new, file = url_of(source, tmp_path), url_of(target, tmp_path, "new"), tmp_path / "kept"
    store, wanted = await filled(old)
    revision = store.revision
    assert await snapshot(old, file, quiet) == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    await store.commit(Create("/registry/later", b""))
    await store.close()

    prefix = prefix_of(source, old)
    assert await restore(file, new, prefix, quiet) == len(wanted)
    assert await content(new) == wanted
    again = await open_store(new)
    assert again.revision >= revision  # clients never see it go back
    await again.close()
    with pytest.raises(NotEmptyError, match="has keys already"):
        await restore(file, new, prefix, quiet)
    assert not await asyncio.to_thread(Path(f"{file}.new").exists)


async def test_a_snapshot_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_bytes(b"older")
    for url in (f"sqlite:{tmp_path}/absent.db", "etcd:http://127.0.0.1:1"):
        with pytest.raises(StoreUnavailableError):
            await snapshot(url, file, quiet)
    assert file.read_bytes() == b"older"
    assert not await asyncio.to_thread(Path(f"{file}.new").exists)


async def kept(tmp_path: Path) -> bytes:
    url = url_of("etcd", tmp_path)
    store, _ = await filled(url)
    await store.close()
    await snapshot(url, tmp_path / "kept", quiet)
    return (tmp_path / "kept").read_bytes()


async def test_a_snapshot_of_etcd_that_was_cut_or_changed_is_refused(tmp_path: Path) -> None:
    whole, file = await kept(tmp_path), tmp_path / "bad"
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    cases = {
        b"": "no snapshot of etcd",
        whole[:-1]: "no snapshot of etcd",
        whole[:-512]: "hash is another",
        bytes(changed): "hash is another",
    }
    for text, why in cases.items():
        file.write_bytes(text)
        with pytest.raises(DamagedFileError, match=why):
            EtcdSnapshot(file)


async def test_no_hostile_snapshot_does_more_than_be_refused(tmp_path: Path) -> None:
    """Its hash is right, and its pages lie."""
    whole, file, chance = await kept(tmp_path), tmp_path / "bad", random.Random(7)
    body, refused = whole[:-32], 0
    used = [at for at in range(0, len(body), 16) if any(body[at : at + 16])]
    for _ in range(150):
        bad = bytearray(body)
        for _ in range(chance.randrange(1, 6)):
            bad[chance.choice(used) + chance.randrange(16)] = chance.choice((0, 1, 255, 17))
        file.write_bytes(bytes(bad) + hashlib.sha256(bad).digest())
        try:
            EtcdSnapshot(file)
        except DamagedFileError:
            refused += 1
    assert refused


@pytest.mark.parametrize("kind", KINDS)
async def test_defrag_gives_back_what_compaction_has_freed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.store.sqlite.store._LOCK_WAIT", 0.1)
    etcd = Etcd(tmp_path)
    url = url_of("sqlite", tmp_path)
    if kind == "etcd":  # one of its own: it answers nobody meanwhile
        etcd.start()
        etcd.wait()
        url = f"etcd:{etcd.url}"
    try:
        store = await open_store(url)
        await store.commit(Create("/a", b""))
        for number in range(60):
            await store.commit(Update("/a", bytes([number]) * 100_000))
        await store.compact(store.revision)
        if kind == "sqlite":
            with pytest.raises(StoreUnavailableError, match="another API server is using it"):
                _ = [one async for one in defragment(url)]
        await store.close()
        (done,) = [one async for one in defragment(url)]
        assert done.after < done.before / 4
        assert await content(url) == {"/a": bytes([59]) * 100_000}
    finally:
        etcd.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_older_store_is_upgraded_as_often_as_one_likes(kind: str, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path)
    store = await open_store(url)
    await store.commit(Create("/registry/core/pods/a/b", b"1"))
    assert await format_of(store) == 1
    assert [await upgrade(store) for _ in range(2)] == [1, FORMAT]
    assert await format_of(store) == FORMAT
    await store.close()


async def test_an_upgrade_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    """Events of format 1 have no lease; each commit may be the last one."""
    url = url_of("etcd", tmp_path)
    store = await open_store(url)
    keys = [f"{EVENT}{number}" for number in range(3)]
    store.removes_events = True  # type: ignore[misc]
    for key in keys:
        await store.commit(Create(key, b"1"))
    commit, left = store.commit, 2

    async def dying(*changes: Update) -> int:
        nonlocal left
        if not left:
            raise StoreUnavailableError("killed")
        left -= 1
        return await commit(*changes)

    store.commit = dying  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailableError):
        await upgrade(store)
    assert await format_of(store) == 1
    store.commit = commit  # type: ignore[method-assign]
    assert await upgrade(store) == 1
    found = await leases_of(url.removeprefix("etcd:"))
    assert 0 not in {found[key] for key in keys}
    await store.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_newer_format_is_refused_by_all(kind: str, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path)
    store = await open_store(url)
    await store.commit(Create(KEY, b"99"))
    with pytest.raises(FormatError, match="format 99, of a newer podwire"):
        await upgrade(store)
    await store.close()
    await snapshot(url, tmp_path / "kept", quiet)
    with pytest.raises(FormatError):
        await restore(
            tmp_path / "kept", url_of("sqlite", tmp_path, "new"), prefix_of(kind, url), quiet
        )
    for words in (["upgrade", url], ["copy", url, url_of("sqlite", tmp_path, "other")]):
        done = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert done.exit_code == 1
        assert "use the newer one" in done.output


def test_a_server_of_a_newer_store_ends_with_a_line(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)

    async def make() -> None:
        store = await open_store(url)
        await store.commit(Create(KEY, b"99"))
        await store.close()

    asyncio.run(make())
    issue(create_authority("a"), Identity("a")).save(tmp_path, "tls")
    argv = [str(CHECKOUT / "bin/podwire"), "apiserver", f"--store={url}", "--listen=127.0.0.1:0"]
    argv += [f"--tls-cert={tmp_path}/tls.crt", f"--tls-key={tmp_path}/tls.key"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "format 99, of a newer podwire" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    url, file = url_of("sqlite", tmp_path), tmp_path / "kept"

    def ran(*words: str) -> str:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output

    async def make() -> None:
        store = await open_store(url)
        await store.commit(Create("/registry/a", b"1"))
        await store.close()

    asyncio.run(make())
    assert ran("upgrade", url) == f"{url} had format 1, and has {FORMAT}\n"
    assert ran("upgrade", url) == f"{url} has format {FORMAT} already\n"
    assert f"{url} is in {file}: " in ran("snapshot", url, str(file))
    assert '"before": ' in ran("defrag", url, "-o", "json")
    back = url_of("sqlite", tmp_path, "back")
    assert ran("restore", str(file), back, "-o", "json") == '{"keys": 2}\n'
