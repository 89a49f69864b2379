"""Carry a request to another server and its answer back, in pieces as far as the other end reads.

A connection is made for each request and ends with it. Neither the client's credentials nor
headers of one connection go on (RFC 9110, section 7.6.1). A request that changes its protocol, as a
WebSocket does, becomes bytes both ways.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.upgrade import accept, copy_both, is_upgrade, of_response

CONNECT_SECONDS = 30.0
_HEADERS = 32 * 1024  # bytes: the longest header of an answer
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Who the client is, which is for this server only.
_OWN = ("authorization", "impersonate-", "x-remote-", "expect")
_MADE = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # by aiohttp, if not given
_NO_BODY = (204, 304)
Call = Callable[[], Awaitable[aiohttp.ClientResponse]]
Whole = Callable[[aiohttp.ClientResponse], Awaitable[web.StreamResponse]]


class Rewriter(Protocol):
    """Changes a body on its way."""

    def feed(self, piece: bytes) -> Iterable[bytes]:
        """Return what is complete."""
        ...

    def close(self) -> bytes:
        """Return the end of the body."""
        ...


class Outgoing(Struct, frozen=True):
    """A request as the other server gets it; ``server_name`` is what its certificate must have."""

    url: str
    headers: CIMultiDict[str]
    server_name: str | None = None


@asynccontextmanager
async def backend_session(tls: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with a server that may be hostile: headers and dialing are bounded."""
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=limits,
        auto_decompress=False,
        skip_auto_headers=_MADE,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_HEADERS,
        max_field_size=_HEADERS,
    ) as session:
        yield session


def passed(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the headers that go on to the other end."""
    named = {each.strip().lower() for each in headers.get("Connection", "").split(",")}
    dropped = _HOP | named
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_OWN)
    )


def forwarded(web_request: web.Request) -> CIMultiDict[str]:
    """Return the headers of a request to another server, with the client's address."""
    headers = passed(web_request.headers)
    if is_upgrade(web_request.headers):
        headers.update({"Connection": "Upgrade", "Upgrade": web_request.headers["Upgrade"]})
    before = web_request.headers.get("X-Forwarded-For")
    own = web_request.remote or ""
    headers["X-Forwarded-For"] = f"{before}, {own}" if before else own
    return headers


async def send(
    web_request: web.Request, session: aiohttp.ClientSession, outgoing: Outgoing
) -> aiohttp.ClientResponse:
    """Send the request and return the answer's beginning; raises StatusError (503)."""
    try:
        return await session.request(
            web_request.method,
            URL(outgoing.url, encoded=True),
            headers=outgoing.headers,
            data=web_request.content.iter_any() if web_request.body_exists else None,
            allow_redirects=False,
            read_until_eof=not is_upgrade(web_request.headers),
            server_hostname=outgoing.server_name,
        )
    except (aiohttp.ClientError, TimeoutError, ValueError) as err:
        why = str(err) or f"no connection within {CONNECT_SECONDS:.0f} s"
        raise errors.unavailable(f"error trying to reach service: {why}") from err


async def upgraded(web_request: web.Request, call: Call, whole: Whole) -> web.StreamResponse:
    """Carry bytes both ways; a refusal of the other server is carried as it is."""
    async with await call() as source:
        if source.status >= 400:
            return await whole(source)
        if source.status != 101:
            why = f"invalid upgrade response: status code {source.status}"
            raise StatusError(500, "InternalError", why)
        back = of_response(source)
        front = await accept(web_request, source.headers.get("Upgrade", ""), passed(source.headers))
        try:
            await copy_both(front, back)
        finally:
            source.close()
        return front.response


async def copied(
    web_request: web.Request,
    source: aiohttp.ClientResponse,
    headers: CIMultiDict[str],
    page: Rewriter | None = None,
) -> web.StreamResponse:
    """Carry an answer with these headers; ``page`` changes its body."""
    response = web.StreamResponse(status=source.status, reason=source.reason, headers=headers)
    await response.prepare(web_request)
    if not has_body(web_request, source):
        return response
    try:
        async for part in _parts(source, page):
            await response.write(part)
    except asyncio.CancelledError:
        cut(web_request)  # another answer would follow in the middle of this one
        raise
    except (aiohttp.ClientPayloadError, zlib.error):
        cut(web_request)  # all that can show that the body is incomplete
    except aiohttp.ClientConnectionResetError:
        pass  # the client has gone
    return response


async def _parts(source: aiohttp.ClientResponse, page: Rewriter | None) -> AsyncIterator[bytes]:
    async for piece in source.content.iter_any():
        if page is None:
            yield piece
        else:
            for part in page.feed(piece):
                yield part
    if page is not None:
        yield page.close()


def cut(web_request: web.Request) -> None:
    """Close the client's connection without waiting for unsent data."""
    if web_request.transport is not None:
        web_request.transport.abort()


def has_body(web_request: web.Request, source: aiohttp.ClientResponse) -> bool:
    """Return True if an answer has a body."""
    return web_request.method != "HEAD" and source.status not in _NO_BODY
