"""Fixtures for the contract tests: each implementation in turn, under one name."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.store.base import Store
from tests.support.control.stores import STORES, make_store
from tests.support.spaces import spaces

__all__ = ["spaces"]


@pytest.fixture
def zero(store: Store) -> int:
    """The revision at which a test's store begins: other tests may have written before."""
    return store.revision


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = await make_store(request.param, tmp_path)
    yield made
    await made.close()
