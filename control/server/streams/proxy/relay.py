"""The subresource ``proxy``: a request to a node, Pod or Service, and its answer.

``carry.py`` does the work; here are the path, the links and the pages.
"""

import ssl
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from control.server.state.server import ServerState
from control.server.streams.agents import agent_tls
from control.server.streams.proxy.backend import Backend, backend_of, reachable
from control.server.streams.proxy.carry import (
    Outgoing,
    backend_session,
    copied,
    forwarded,
    has_body,
    passed,
    send,
    upgraded,
)
from control.server.streams.proxy.html import PageRewriter
from control.server.streams.proxy.links import Links, joined
from control.server.wire import errors
from control.server.wire.info import PROXY, RequestInfo
from control.server.wire.request import ApiRequest
from control.upgrade import is_upgrade

_WINDOWS = {"gzip": 31, "deflate": -15}
_PIECE = 64 * 1024


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
        call = partial(send, web_request, session, _outgoing(web_request, target, links, path))
        whole = partial(_whole, web_request, links)
        if upgrades:
            return await upgraded(web_request, call, whole)
        async with await call() as source:
            return await whole(source)


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
    async with backend_session(tls) as session:
        yield session


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _outgoing(web_request: web.Request, target: Backend, links: Links, path: str) -> Outgoing:
    headers = forwarded(web_request)
    headers["Host"] = web_request.host
    headers["X-Forwarded-Uri"] = joined(links.prefix, path or "/")
    url = f"{target.scheme}://{target.authority}{path or '/'}"
    query = web_request.rel_url.raw_query_string
    return Outgoing(f"{url}?{query}" if query else url, headers)


async def _whole(
    web_request: web.Request, links: Links, source: aiohttp.ClientResponse
) -> web.StreamResponse:
    """Carry an answer; a page's links and a redirect lead through the proxy again."""
    headers, page = passed(source.headers), None
    if where := source.headers.get("Location"):
        headers["Location"] = links.rewritten(where)
    elif source.content_type == "text/html" and has_body(web_request, source):
        page = _Page.of(source.headers.get("Content-Encoding", ""), links)
    if page is not None:
        for name in ("Content-Length", "Content-Encoding"):
            headers.popall(name, None)
    return await copied(web_request, source, headers, page)


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
