"""Send the events of a watch: a line each, or a message each over a WebSocket."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from itertools import chain

from aiohttp import ClientConnectionResetError, web

from control.server.http.send import send
from control.server.http.web_request import ServerRequest
from control.server.state.server import ServerState
from control.server.streams.messages import send_events
from control.server.verbs.render import frame
from control.server.verbs.watch import WatchNotice, watch
from control.server.wire.media import JSON
from control.server.wire.request import ApiRequest
from control.upgrade import asks

logger = logging.getLogger(__name__)

Batches = AsyncGenerator[Iterable[Iterable[bytes]], None]


async def send_watch(
    state: ServerState,
    web_request: ServerRequest,
    request: ApiRequest,
    cuts: set[Callable[[], None]],
    begun: Callable[[], None],
) -> web.StreamResponse:
    """Send the events of a watch until it ends; raises StatusError before the response begins.

    ``cuts`` has what closes its connection while it is open; ``begun`` is called when the first
    events are sent: those of present objects, or since a revision.
    """
    cut = web_request.cut
    async with aclosing(watch(state, request, cut, begun)) as signals:
        first = await anext(signals)  # raises StatusError before the response begins
        cuts.add(cut)
        try:
            batches = _batches(state, request, first, signals)
            if asks(web_request.headers, "websocket"):
                return await send_events(web_request, batches, partial(_started, web_request))
            return await _send_lines(web_request, batches)
        finally:
            cuts.discard(cut)


async def _batches(
    state: ServerState,
    request: ApiRequest,
    first: list[WatchNotice],
    rest: AsyncGenerator[list[WatchNotice], None],
) -> Batches:
    """Yield the encoded events of a watch, each in pieces."""
    yield _events(state, request, first)
    async for signals in rest:
        yield _events(state, request, signals)


def _events(
    state: ServerState, request: ApiRequest, signals: Iterable[WatchNotice]
) -> Iterator[Iterable[bytes]]:
    now, include = state.now(), request.query.get("includeObject", "")
    form, kind = request.representation, request.info.kind
    return (frame(form, kind, signal, now, include) for signal in signals)


async def _send_lines(web_request: ServerRequest, batches: Batches) -> web.StreamResponse:
    """Write the events of a watch, a line each."""
    response = web.StreamResponse(headers={"Content-Type": JSON})
    try:
        await response.prepare(web_request)
        _started(web_request, response)
        async for events in batches:
            await send(response, chain.from_iterable(events))
    except ClientConnectionResetError:
        logger.debug("watch of %s: the client has disconnected", web_request.path)
    return response


def _started(web_request: ServerRequest, response: web.StreamResponse) -> None:
    """Tell the audit log that a long answer has begun."""
    if web_request.entry is not None:
        web_request.entry.write("ResponseStarted", response.status)
