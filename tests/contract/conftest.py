"""Every implementation of a contract, under one name."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.store.base import Store
from control.store.memory import MemoryStore
from control.store.sqlite.store import SqliteStore
from tests.support.space import spaces

__all__ = ["spaces"]

STORES = ("memory", "sqlite")


async def make_store(name: str, folder: Path) -> Store:
    return MemoryStore() if name == "memory" else await SqliteStore.open(folder / "store.db")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = await make_store(request.param, tmp_path)
    yield made
    await made.close()
