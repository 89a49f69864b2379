"""A server that nodes join, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.control.joinable import Joinable, joinable_server


@pytest.fixture
async def joinable(tmp_path: Path) -> AsyncIterator[Joinable]:
    async with joinable_server(tmp_path) as made:
        yield made
