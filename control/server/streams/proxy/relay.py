"""Carry a request to a backend and its answer back, in pieces as far as the other end reads.

A connection is made for each request and ends with it. Neither the client's credentials nor
headers of one connection go on (RFC 9110, section 7.6.1). A request that changes its protocol, as a
WebSocket does, becomes bytes both ways.
"""

import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from control.server.state.server import ServerState
from control.server.streams.agents import agent_tls
from control.server.streams.proxy.backend import Backend, backend_of, reachable
from control.server.streams.proxy.html import PageRewriter
from control.server.streams.proxy.links import Links, joined
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import PROXY, RequestInfo
from control.server.wire.request import ApiRequest
from control.upgrade import accept, copy_both, is_upgrade, of_response

_CONNECT_SECONDS = 30.0
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
_WINDOWS = {"gzip": 31, "deflate": -15}
_PIECE = 64 * 1024
_NO_BODY = (204, 304)
Call = Callable[[], Awaitable[aiohttp.ClientResponse]]


async def answer(
    state: ServerState, web_request: web.Request, request: ApiRequest
) -> web.StreamResponse:
    """Carry a request; raises StatusError before the response begins."""
    prefix, path = _split(web_request, request.info)
    target = backend_of(state, request.info)
    upgrades = is_upgrade(web_request.headers)
    if not path and not upgrades and web_request.method in ("GET", "HEAD"):
        query = web_request.rel_url.raw_query_string
        where = f"{prefix}/" + (f"?{query}" if query else "")
        return web.Response(status=301, headers={"Location": where})
    await reachable(target)
    links = Links(prefix, target.authority, web_request.host)
    async with _session(state, target) as session:
        call = partial(_call, web_request, session, target, links, path)
        return await (_upgraded if upgrades else _copied)(web_request, call, links)


def _split(web_request: web.Request, info: RequestInfo) -> tuple[str, str]:
    """Return the path of the proxy as the client wrote it, and the rest; raises StatusError (404).

    The first names what the user was allowed to reach.
    """
    raw = web_request.rel_url.raw_path
    count = 6 if info.namespace else 4
    parts = raw.lstrip("/").split("/", count + 1)
    prefix, path = "/" + "/".join(parts[: count + 1]), "".join(parts[count + 1 :])
    named = [unquote(part) for part in parts[count - 1 : count + 1]]
    if named != [info.name, PROXY]:
        raise errors.no_such_path()
    return prefix, f"/{path}" if len(parts) > count + 1 else ""


@asynccontextmanager
async def _session(state: ServerState, target: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with a backend; of other backends than agents no certificate is verified."""
    tls = agent_tls(state.config) if target.is_agent else _unverified()
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
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


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _call(
    web_request: web.Request,
    session: aiohttp.ClientSession,
    target: Backend,
    links: Links,
    path: str,
) -> aiohttp.ClientResponse:
    """Send the request and return the answer's beginning; raises StatusError (503)."""
    headers = _passed(web_request.headers)
    if is_upgrade(web_request.headers):
        headers.update({"Connection": "Upgrade", "Upgrade": web_request.headers["Upgrade"]})
    headers["Host"] = web_request.host
    before = web_request.headers.get("X-Forwarded-For")
    own = web_request.remote or ""
    headers["X-Forwarded-For"] = f"{before}, {own}" if before else own
    headers["X-Forwarded-Uri"] = joined(links.prefix, path or "/")
    url = f"{target.scheme}://{target.authority}{path or '/'}"
    query = web_request.rel_url.raw_query_string
    try:
        return await session.request(
            web_request.method,
            URL(f"{url}?{query}" if query else url, encoded=True),
            headers=headers,
            data=web_request.content.iter_any() if web_request.body_exists else None,
            allow_redirects=False,
            read_until_eof=not is_upgrade(web_request.headers),
        )
    except (aiohttp.ClientError, TimeoutError, ValueError) as err:
        why = str(err) or f"no connection within {_CONNECT_SECONDS:.0f} s"
        raise errors.unavailable(f"error trying to reach service: {why}") from err


def _passed(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the headers that go on to the other end."""
    named = {each.strip().lower() for each in headers.get("Connection", "").split(",")}
    dropped = _HOP | named
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_OWN)
    )


async def _upgraded(web_request: web.Request, call: Call, links: Links) -> web.StreamResponse:
    """Carry bytes both ways; a refusal of the backend is carried as it is."""
    async with await call() as source:
        if source.status >= 400:
            return await _whole(web_request, source, links)
        if source.status != 101:
            why = f"invalid upgrade response: status code {source.status}"
            raise StatusError(500, "InternalError", why)
        back = of_response(source)
        front = await accept(
            web_request, source.headers.get("Upgrade", ""), _passed(source.headers)
        )
        try:
            await copy_both(front, back)
        finally:
            source.close()
        return front.response


async def _copied(web_request: web.Request, call: Call, links: Links) -> web.StreamResponse:
    async with await call() as source:
        return await _whole(web_request, source, links)


async def _whole(
    web_request: web.Request, source: aiohttp.ClientResponse, links: Links
) -> web.StreamResponse:
    """Carry an answer; a page's links and a redirect lead through the proxy again."""
    headers, page = _passed(source.headers), None
    if where := source.headers.get("Location"):
        headers["Location"] = links.rewritten(where)
    elif source.content_type == "text/html" and _has_body(web_request, source):
        page = _Page.of(source.headers.get("Content-Encoding", ""), links)
    if page is not None:
        for name in ("Content-Length", "Content-Encoding"):
            headers.popall(name, None)
    response = web.StreamResponse(status=source.status, reason=source.reason, headers=headers)
    await response.prepare(web_request)
    if not _has_body(web_request, source):
        return response
    try:
        async for piece in source.content.iter_any():
            for part in page.feed(piece) if page else (piece,):
                await response.write(part)
        if page:
            await response.write(page.close())
    except (aiohttp.ClientPayloadError, zlib.error):
        if web_request.transport is not None:
            web_request.transport.abort()  # all that can show that the body is incomplete
    except aiohttp.ClientConnectionResetError:
        pass  # the client has gone
    return response


def _has_body(web_request: web.Request, source: aiohttp.ClientResponse) -> bool:
    return web_request.method != "HEAD" and source.status not in _NO_BODY


class _Page:
    """An HTML page on its way, which may be compressed; it goes on without compression."""

    def __init__(self, encoding: str, links: Links) -> None:
        self._text = PageRewriter(links.rewritten)
        self._plain = zlib.decompressobj(_WINDOWS[encoding]) if encoding else None

    @classmethod
    def of(cls, encoding: str, links: Links) -> "_Page | None":
        """Return None for an encoding that is not known: such a page goes on as it is."""
        return cls(encoding, links) if encoding in ("", *_WINDOWS) else None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what is complete, in pieces of bounded size."""
        for plain in self._plain_pieces(piece):
            if text := self._text.feed(plain.decode("latin-1")):
                yield _encoded(text)

    def close(self) -> bytes:
        """Return the end of the page."""
        return _encoded(self._text.close())

    def _plain_pieces(self, piece: bytes) -> Iterator[bytes]:
        if self._plain is None:
            yield piece
            return
        while piece:
            yield self._plain.decompress(piece, _PIECE)
            piece = self._plain.unconsumed_tail


def _encoded(text: str) -> bytes:
    """Return text as bytes; each sign of the page was one byte."""
    return text.encode("latin-1", "xmlcharrefreplace")
