"""An API server that authorizes, on plain HTTP; users show their name as a token."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from control.server.access.audit import AuditLog
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.state.server import ApiServerConfig, ServerState
from control.server.wire.request import User
from control.store.memory import MemoryStore
from control.tokens import TokenSigner
from tests.support.control.requests import Api, Reply

ALL = "system:authenticated"
USERS = (
    User("root", ("system:masters", ALL)),
    User("alice", (ALL,)),
    User("bob", ("team", ALL)),
    User("system:kube-controller-manager", (ALL,)),
    User("system:cloud-controller-manager", (ALL,)),
    User("system:kube-scheduler", (ALL,)),
    User("system:kube-proxy", (ALL,)),
    User("podwire:speaker", (ALL,)),
    User("system:node:node1", ("system:nodes", ALL)),
    User("system:node:node2", ("system:nodes", ALL)),
    User("system:serviceaccount:default:robot", ("system:serviceaccounts", ALL)),
)


@dataclass(frozen=True)
class Guarded:
    """A server and its clients."""

    api: Api
    state: ServerState
    url: str

    async def __call__(
        self, user: str, method: str, path: str, body: Any = None, **headers: str
    ) -> Reply:
        await self.state.cache.fresh()  # rights are read from it
        return await self.api(method, path, body, Authorization=f"Bearer {user}", **headers)

    async def make(self, path: str, body: Any, user: str = "root") -> dict[str, Any]:
        reply = await self(user, "POST", path, body)
        assert reply.code == 201, reply
        return dict(reply.body)


@asynccontextmanager
async def guarded_server(
    *modes: str, tokens: TokenSigner | None = None, audit: AuditLog | None = None
) -> AsyncIterator[Guarded]:
    """Serve from memory with these modes of authorization."""
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    store = MemoryStore()
    known = Authenticator({user.name: user for user in USERS})
    config = ApiServerConfig(authorization_modes=modes, mounts_tokens=tokens is not None)
    parts: dict[str, Any] = {"tokens": tokens, "audit": audit}
    async with (
        serve(store, [bound], config=config, authenticator=known, **parts) as state,
        aiohttp.ClientSession(url) as session,
    ):
        yield Guarded(Api(session, state), state, url)
    await store.close()
