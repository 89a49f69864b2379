"""Fixtures for the tests of the API server: a server, requests to it, kubectl over TLS."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.control.api_server import ApiServer
from tests.support.control.kubectls import Kubectl
from tests.support.control.requests import Api
from tests.support.control.secured import Secured, secured_server


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(api_server.url) as session:
        yield Api(session, api_server.state)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    async with secured_server(tmp_path) as server:
        yield server


@pytest.fixture
def kubectl(secured: Secured) -> Kubectl:
    program = shutil.which("kubectl")
    assert program, "kubectl is not on the PATH: bin/setup downloads it"
    return Kubectl(secured, program)
