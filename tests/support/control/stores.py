"""The store implementations that the store's contract is tested on."""

from pathlib import Path

from control.store import open_store
from control.store.base import Store
from control.store.memory import MemoryStore
from control.store.sqlite.store import SqliteStore
from tests.support.control.etcd import shared_etcd

STORES = ("memory", "sqlite", "etcd")


async def make_store(name: str, folder: Path) -> Store:
    """Open the store that ``STORES`` calls ``name``, whose files, or keys, ``folder`` names."""
    if name == "memory":
        return MemoryStore()
    if name == "etcd":
        return await open_store(f"etcd:{shared_etcd().url}?prefix={folder}")
    return await SqliteStore.open(folder / "store.db")
