"""Read the body of a request, within the bytes that the server holds of all bodies."""

from aiohttp import HttpVersion11, hdrs, web

from control.server.http.web_request import ServerRequest
from control.server.state.budget import Holding
from control.server.wire import errors
from control.server.wire.body import BODY_LIMIT, Body, read_body

_NO_BODY = Body()


async def read(web_request: ServerRequest, holding: Holding, *, simple: bool, wanted: str) -> Body:
    """Read and decode the body of a request that writes; raises StatusError (400, 413, 415).

    ``wanted`` is the kind of the object that it should be. Raises BusyError if there is no room
    for it.
    """
    raw = await _received(web_request, holding) if web_request.body_exists else b""
    if web_request.method in ("GET", "HEAD"):
        return _NO_BODY
    media = web_request.headers.get("Content-Type", "")
    body = read_body(raw, media, simple=simple, wanted=wanted)
    if web_request.entry is not None:
        web_request.entry.body = body
    return body


async def _received(web_request: ServerRequest, holding: Holding) -> bytes:
    pieces, size = [], 0
    async for piece in web_request.content.iter_any():
        size += len(piece)
        if size > BODY_LIMIT:
            raise errors.too_large(f"limit is {BODY_LIMIT}")
        holding.grow(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


async def invite(web_request: ServerRequest) -> None:
    """Tell a client that waits for it to send its body (RFC 9110, 10.1.1).

    Raises HTTPExpectationFailed (417) if it expects something else.
    """
    expected = web_request.headers.get(hdrs.EXPECT)
    if expected is None or web_request.version != HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected}")
    transport = web_request.transport
    if transport is not None:
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
