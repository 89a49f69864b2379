"""Copies of a store to keep: made while servers run, and put back into an empty store."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from control.store import file_of, open_store
from control.store.base import Store, StoreUnavailableError
from control.store.copy import Progress, Source, copy
from control.store.format import format_of
from control.store.sqlite import backup


@dataclass(frozen=True, slots=True)
class Written:
    """A database that was written anew, and its bytes before and after."""

    name: str
    before: int
    after: int


async def snapshot(url: str, file: Path, tell: Progress) -> int:
    """Write a store into a file, whole or not at all; return its bytes.

    Raises StoreUrlError, StoreError.
    """
    fresh = file.with_name(f"{file.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if (path := file_of(url)) is not None:
            await asyncio.to_thread(backup.backup, path, fresh, partial(tell, "pages"))
        else:
            await _from_etcd(url, fresh, tell)
        return await asyncio.to_thread(_keep, fresh, file)
    except OSError as err:
        raise StoreUnavailableError(f"{file}: {err.strerror}") from err
    finally:
        with suppress(OSError):
            fresh.unlink()


def _keep(fresh: Path, file: Path) -> int:
    """Give a whole file its name; both are on the disk then. Return its bytes."""
    _sync(fresh)
    fresh.rename(file)
    _sync(file.parent)
    return file.stat().st_size


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def _from_etcd(url: str, file: Path, tell: Progress) -> None:
    from control.store.etcd.connection import members
    from control.store.etcd.maintenance import snapshot as pieces
    from control.store.etcd.snapshot import EtcdSnapshot

    done = 0
    with file.open("wb") as stream:
        async for piece, left in pieces(members(url.removeprefix("etcd:"))):
            stream.write(piece)
            done += len(piece)
            tell("bytes", done, done + left)
    await asyncio.to_thread(EtcdSnapshot, file)  # what cannot be read is no copy to keep


async def restore(file: Path, url: str, prefix: str, tell: Progress) -> int:
    """Put a snapshot into an empty store, and return the number of its keys.

    ``prefix`` is that of the keys in a snapshot of etcd. Raises StoreUrlError, StoreError.
    """
    try:
        async with _opened(file, prefix) as source:
            await format_of(source)
            target = await open_store(url)
            try:
                return await copy(source, target, tell)
            finally:
                await target.close()
    except OSError as err:
        raise StoreUnavailableError(f"{file}: {err.strerror}") from err


@asynccontextmanager
async def _opened(file: Path, prefix: str) -> AsyncIterator[Source]:
    """Read a snapshot of either kind; all of it is checked."""
    with file.open("rb") as stream:
        is_sqlite = stream.read(len(backup.MAGIC)) == backup.MAGIC
    if not is_sqlite:
        from control.store.etcd.snapshot import EtcdSnapshot

        yield await asyncio.to_thread(EtcdSnapshot, file, prefix)
        return
    with tempfile.TemporaryDirectory(prefix="podwire-restore-") as folder:
        copied = Path(folder) / "store.db"  # to open a store changes its files
        await asyncio.to_thread(shutil.copyfile, file, copied)
        store: Store = await open_store(f"sqlite:{copied}")
        try:
            yield store
        finally:
            await store.close()


async def defragment(url: str) -> AsyncGenerator[Written, None]:
    """Write the databases of a store anew, without what compaction has left.

    That of SQLite must have no server meanwhile. Raises StoreUrlError, StoreError.
    """
    if (path := file_of(url)) is None:
        from control.store.etcd.connection import members
        from control.store.etcd.maintenance import defragment as members_anew

        async for one in members_anew(members(url.removeprefix("etcd:"))):
            yield Written(one.member, one.before, one.after)
        return
    if not path.is_file():
        raise StoreUnavailableError(f"store {path}: there is no such file")
    store = await open_store(url)  # it locks the file, and reads all of it
    try:
        before = path.stat().st_size
        await asyncio.to_thread(backup.vacuum, path)
        yield Written(str(path), before, path.stat().st_size)
    finally:
        await store.close()
