"""A store that is copied into another: contents, revisions, and what clients of the old one see."""

import asyncio
import itertools
from pathlib import Path

import pytest
from click.testing import CliRunner

from control.store import cli, open_store
from control.store.base import CompactedError, Create, Delete, Store, Update
from control.store.copy import NotEmptyError, copy
from tests.support.control.etcd import shared_etcd
from tests.support.control.stores import STORES, make_store


async def fill(store: Store) -> None:
    for number in range(250):
        await store.commit(Create(f"/registry/pods/{number:03}", str(number).encode()))
    await store.commit(Create("/registry/big", bytes(1_000_000)))
    await store.commit(Update("/registry/pods/007", b"new"))
    await store.commit(Delete("/registry/pods/008"))


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(STORES, 2), ("etcd", "etcd")])
async def test_everything_is_there_at_later_revisions(tmp_path: Path, old: str, new: str) -> None:
    source = await make_store(old, tmp_path / "old" if old == "etcd" else tmp_path)
    target = await make_store(new, tmp_path / "new" if new == "etcd" else tmp_path)
    try:
        await fill(source)
        before = await source.list("/")
        assert await copy(source, target) == 250
        after = await target.list("/")
        assert [(one.key, one.value) for one in after.records] == [
            (one.key, one.value) for one in before.records
        ]
        assert min(one.revision for one in after.records) > before.revision
        with pytest.raises(CompactedError):  # who watches from what the old one said lists again
            await anext(target.watch("/", before.revision))
        with pytest.raises(NotEmptyError, match="has keys already, such as /registry/big"):
            await copy(source, target)
    finally:
        await source.close()
        await target.close()


async def test_a_copy_counts_up_by_the_difference_alone(tmp_path: Path) -> None:
    source, target = await make_store("memory", tmp_path), await make_store("sqlite", tmp_path)
    for number in range(300):
        await source.commit(Create(f"/{number}", b""))
    for _ in range(40):
        await target.commit(Create("/x", b""))
        await target.commit(Delete("/x"))
    told: list[tuple[str, int, int]] = []
    await copy(source, target, lambda *words: told.append(words))
    ups = [done for what, done, of in told if what == "revisions" and of == 220]
    assert ups and ups[-1] == 220 and ups == sorted(ups)
    await target.close()


def test_the_command_copies_there_and_back(tmp_path: Path) -> None:
    async def begin() -> None:
        store = await open_store(f"sqlite:{tmp_path}/old.db")
        await store.commit(Create("/registry/a", b"1"))
        await store.close()

    asyncio.run(begin())
    etcd = f"etcd:{shared_etcd().url}?prefix={tmp_path}"
    run = CliRunner().invoke
    done = run(cli.main, ["copy", f"sqlite:{tmp_path}/old.db", etcd])
    assert done.exit_code == 0 and done.output.startswith("1 keys of sqlite:")
    done = run(cli.main, ["copy", etcd, f"sqlite:{tmp_path}/new.db", "-o", "json"])
    assert (done.exit_code, done.output) == (0, '{"keys": 1}\n')
    done = run(cli.main, ["copy", etcd, f"sqlite:{tmp_path}/new.db"])
    assert done.exit_code == 1 and "has keys already" in done.output
    done = run(cli.main, ["copy", "etcd", f"sqlite:{tmp_path}/new.db"])
    assert done.exit_code == 2 and "expected etcd:http" in done.output
