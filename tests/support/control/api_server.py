"""An API server in the test's own process."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.state.server import ServerState
from control.store.base import Store
from control.store.memory import MemoryStore


@dataclass(frozen=True)
class ApiServer:
    """A server on plain HTTP; every client is an admin."""

    url: str
    port: int
    state: ServerState


@asynccontextmanager
async def running(store: Store | None = None, port: int = 0) -> AsyncIterator[ApiServer]:
    """Run a server until the context ends; its store is closed then."""
    bound = socket.create_server(("127.0.0.1", port))
    port = bound.getsockname()[1]
    store = MemoryStore() if store is None else store
    async with serve(store, [bound], authenticator=Authenticator(trusting=True)) as state:
        yield ApiServer(f"http://127.0.0.1:{port}", port, state)
    await store.close()


@pytest.fixture
async def api_server() -> AsyncIterator[ApiServer]:
    """A server of one test."""
    async with running() as server:
        yield server
