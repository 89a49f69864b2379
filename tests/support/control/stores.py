"""The store implementations that the store's contract is tested on."""

from pathlib import Path

from control.store.base import Store
from control.store.memory import MemoryStore
from control.store.sqlite.store import SqliteStore

STORES = ("memory", "sqlite")


async def make_store(name: str, folder: Path) -> Store:
    """Open the store that ``STORES`` calls ``name``; its files go into ``folder``."""
    return MemoryStore() if name == "memory" else await SqliteStore.open(folder / "store.db")
