"""An API server in the test's own process, for every room of the control plane."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.control.api_server import ApiServer, api_server

__all__ = ["api_server"]


@pytest.fixture
async def http(api_server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api_server.url) as session:
        yield session
