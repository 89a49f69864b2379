"""Requests to extension servers: TLS, and who speaks."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from control.server.remote import client
from control.server.remote.client import Fetched, Outgoing, ask, tls_context
from control.server.state.extensions import Extension
from control.server.state.server import FrontProxy, ServerState
from control.server.wire.request import User

_ILLEGAL = re.compile(rb"[^!#$&'*+\-.^_`|~0-9A-Za-z]")


def tls_of(proxy: FrontProxy, extension: Extension) -> ssl.SSLContext:
    """Make a TLS context for requests to an extension server; raises RemoteError."""
    whose = f"APIService {extension.name}"
    return tls_context(whose, extension.authority, proxy.client, unverified=extension.unverified)


@asynccontextmanager
async def session_with(
    state: ServerState, extension: Extension
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with an extension server; raises RemoteError."""
    tls = tls_of(state.config.front_proxy, extension)
    async with client.session_with(state, extension, tls) as session:
        yield session


def _escaped(sign: re.Match[bytes]) -> bytes:
    return f"%{sign[0][0]:02X}".encode()


def identity(user: User) -> list[tuple[str, str]]:
    """Return the headers that say for whom this server asks, as client-go's auth proxy."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        name = _ILLEGAL.sub(_escaped, key.encode("utf-8", "replace"))
        found += [(f"X-Remote-Extra-{name.decode()}", value) for value in values]
    return found


async def fetch(
    session: aiohttp.ClientSession,
    extension: Extension,
    url: str,
    headers: list[tuple[str, str]],
    most: int,
) -> Fetched:
    """GET a URL of an extension server, of at most ``most`` bytes; raises RemoteError."""
    name = None if extension.unverified else extension.host
    return await ask(session, Outgoing("GET", url, headers, name=name), most)
