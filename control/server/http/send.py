"""Send a large answer in pieces, as far as the client reads them."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from control.server.http.response import headers, in_yaml, respond
from control.server.http.web_request import ServerRequest
from control.server.wire.compression import THRESHOLD, accepts_gzip, gzipped, is_large
from control.server.wire.response import ApiResponse

# Bytes that are written at once; a piece up to the second is not cut.
_CHUNK, _WHOLE = 32 * 1024, 64 * 1024


async def sent(
    web_request: ServerRequest, answer: ApiResponse, *, as_yaml: bool = False
) -> web.StreamResponse:
    """Send a large body in pieces; a client that does not read them in time is cut off."""
    if as_yaml:
        answer = in_yaml(web_request, answer)
    pieces, packed = answer.pieces, False
    if accepts_gzip(web_request.headers.get("Accept-Encoding", "")):
        # The audit log reads the body of an answer that is sent at once.
        if pieces is None and len(answer.body) > THRESHOLD and web_request.entry is None:
            pieces = iter((answer.body,))
        if pieces is not None:
            packed, pieces = await is_large(pieces)
    if pieces is None:
        return respond(answer)
    response = web.StreamResponse(status=answer.code, headers=headers(answer))
    if not packed:
        response.content_length = answer.size  # or else in chunks, which are copied once more
    try:
        await (_send_packed if packed else _send_plain)(web_request, response, pieces)
    except asyncio.CancelledError:
        web_request.cut()
        raise
    return response


async def _send_plain(
    web_request: ServerRequest, response: web.StreamResponse, pieces: Iterable[bytes]
) -> None:
    await response.prepare(web_request)
    await send(response, pieces)
    await response.write_eof()


async def _send_packed(
    web_request: ServerRequest, response: web.StreamResponse, pieces: Iterable[bytes]
) -> None:
    """Write pieces by gzip; others run after each step."""
    response.headers["Content-Encoding"] = "gzip"
    response.headers.add("Vary", "Accept-Encoding")
    await response.prepare(web_request)
    for packed in gzipped(pieces):
        if packed:
            await response.write(packed)
        await asyncio.sleep(0)
    await response.write_eof()


async def send(response: web.StreamResponse, pieces: Iterable[bytes]) -> None:
    """Write pieces as far as the client reads; others run in between.

    So a response holds some 200 KiB, however large it is: objects are not copied before.
    """
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) <= _WHOLE:
            group.append(piece)
            size += len(piece)
        if size >= _CHUNK or len(piece) > _WHOLE:
            await response.write(b"".join(group))
            group, size = [], 0
            await asyncio.sleep(0)
        if len(piece) > _WHOLE:
            for start in range(0, len(piece), _CHUNK):
                await response.write(memoryview(piece)[start : start + _CHUNK])
    if group:
        await response.write(b"".join(group))
