"""Requests to servers that extend this one: TLS, and answers of bounded size."""

import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

import aiohttp
from msgspec import Struct
from yarl import URL

from control.server.remote.services import RemoteError, ServicePort, service_of
from control.server.state.server import ServerState
from control.server.streams.proxy.backend import Backend, reachable
from control.server.streams.proxy.carry import backend_session
from control.server.wire.errors import StatusError
from control.tls import CertificateError, load_identity

_AT_ONCE = 1 << 16  # bytes
_CONTEXTS = 64  # that are kept, each for one authority
Identity = tuple[Path, Path]


class Fetched(Struct, frozen=True):
    """An answer, whole."""

    code: int
    media: str
    body: bytes
    tag: str = ""


class Outgoing(Struct, frozen=True):
    """A request; ``name`` is what the server's certificate must have, None for the URL's host."""

    method: str
    url: str
    headers: list[tuple[str, str]] | Mapping[str, str]
    body: bytes | None = None
    name: str | None = None


def tls_context(
    whose: str, authority: bytes, identity: Identity | None = None, *, unverified: bool = False
) -> ssl.SSLContext:
    """Make a TLS context for requests to one server; raises RemoteError, which names ``whose``.

    ``authority`` is PEM, empty for the system's, which are read once: they take some 20 ms. A
    renewed ``identity``, this server's certificate and key, is used at once.
    """
    try:
        return _context(authority, identity, unverified, tuple(map(_stamp, identity or ())))
    except (CertificateError, ssl.SSLError, ValueError) as err:
        raise RemoteError(f"{whose}: caBundle or certificate: {err}") from err


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is renewed; a missing one is told when it is read."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


@lru_cache(_CONTEXTS)
def _context(
    authority: bytes,
    identity: Identity | None,
    unverified: bool,
    stamps: tuple[tuple[int, int], ...],
) -> ssl.SSLContext:
    del stamps  # with others, it is another context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if unverified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif authority:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    else:
        context.load_default_certs()
    if identity is not None:
        load_identity(context, *identity)
    return context


@asynccontextmanager
async def session_with(
    state: ServerState, at: ServicePort, tls: ssl.SSLContext
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the server behind a Service; raises RemoteError."""
    service = service_of(state, at)
    if service is not None and service["spec"].get("type") == "ExternalName":
        await _check_name(service["spec"].get("externalName") or "")
    async with backend_session(tls) as session:
        yield session


async def _check_name(host: str) -> None:
    """Refuse a name of what only this machine can reach; raises RemoteError."""
    try:
        await reachable(Backend("https", host))
    except StatusError as err:
        raise RemoteError(str(err)) from err


def _in_pieces(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp sends it without a stall: bytes go all at once."""
    return io.BytesIO(body) if body is not None and len(body) > _AT_ONCE else body


async def ask(session: aiohttp.ClientSession, outgoing: Outgoing, most: int) -> Fetched:
    """Send a request, and read an answer of at most ``most`` bytes; raises RemoteError."""
    try:
        async with session.request(
            outgoing.method,
            URL(outgoing.url, encoded=True),
            headers=outgoing.headers,
            data=_in_pieces(outgoing.body),
            allow_redirects=False,
            server_hostname=outgoing.name,
        ) as answer:
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > most:
                    raise RemoteError(f"its answer has more than {most} bytes")
            media = answer.headers.get("Content-Type", "")
            return Fetched(answer.status, media, bytes(body), answer.headers.get("ETag", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as err:
        raise RemoteError(str(err) or "no answer in time") from err
