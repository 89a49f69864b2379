"""Sends values as server-sent events for as long as the window is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from aiohttp import web

_QUIET = 15.0  # seconds after which a silent stream sends a comment: so a lost one is noticed
_LOOK = 1.0  # seconds from one look at whether the window is still there to the next


async def send(
    answer: web.StreamResponse,
    request: web.Request,
    name: str,
    values: AsyncIterator[msgspec.Struct],
) -> None:
    """Send each value as an event of this name, until there is none or the window has gone."""
    quiet = 0.0
    waiting = asyncio.ensure_future(anext(values))
    try:
        while not _is_gone(request):
            done, _ = await asyncio.wait([waiting], timeout=_LOOK)
            if done:
                data = msgspec.json.encode(waiting.result())
                await answer.write(b"event: %b\ndata: %b\n\n" % (name.encode(), data))
                waiting, quiet = asyncio.ensure_future(anext(values)), 0.0
                continue
            quiet += _LOOK
            if quiet >= _QUIET:
                await answer.write(b": still here\n\n")
                quiet = 0.0
    except (ConnectionResetError, StopAsyncIteration):  # the window was closed, or all was told
        return
    finally:
        waiting.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await waiting


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
