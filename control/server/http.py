"""The HTTP face: one handler for every path, errors as Status, watches as streams of lines."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import partial

from aiohttp import ClientConnectionResetError, web
from multidict import CIMultiDict

from control.api.base import encode
from control.server.access import access
from control.server.access.authn import Authenticator
from control.server.pages.pages import is_public, page
from control.server.state.world import BODY_LIMIT, Call, User, World
from control.server.streams import streams
from control.server.verbs.render import frame
from control.server.verbs.table import verb_of
from control.server.verbs.watch import Signal, watch
from control.server.wire import errors, info
from control.server.wire.answer import JSON, Answer, unless_known, warning_headers
from control.server.wire.errors import Refused
from control.server.wire.forms import parse_form
from control.server.wire.protobuf import decode as protobuf
from control.server.wire.protobuf.wire import BadProtobuf
from control.store.base import StoreError

logger = logging.getLogger(__name__)

# Upstream's --request-timeout, for everything but watches and streams.
_SECONDS = 60.0


class Handler:
    """Answers every request of one server."""

    def __init__(self, world: World, authenticator: Authenticator) -> None:
        self._world = world
        self._authenticator = authenticator
        self._cuts: set[Callable[[], None]] = set()  # one for each open watch and stream

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; raises only what a client that has gone away causes."""
        try:
            return await self._answer(request)
        except Refused as err:
            return _respond(Answer(err.body(), err.code, warnings=err.warnings))
        except StoreError as err:
            refused = errors.unavailable(str(err))
            return _respond(Answer(refused.body(), refused.code))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception:
            logger.exception("%s %s", request.method, request.path)
            refused = errors.internal("see the API server's log")
            return _respond(Answer(refused.body(), refused.code))

    def close(self) -> None:
        """End all watches and streams."""
        for cut in tuple(self._cuts):
            cut()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        if user is None and not is_public(request.path):
            raise errors.unauthorized()
        if (found := await self._page(request, user)) is not None:
            return _respond(found)
        if user is None:
            raise errors.unauthorized()
        asked = info.parse(request.method, request.path, request.query)
        access.check(user, asked)
        if streams.is_stream(asked):
            return await self._stream(request, Call(asked, user, request.query))
        verb = verb_of(asked)
        form = parse_form(request.headers.get("Accept", ""))
        if asked.verb == "watch":
            return await self._watch(request, Call(asked, user, request.query, form=form))
        try:
            async with asyncio.timeout(_SECONDS):
                call = Call(asked, user, request.query, *await _body(request), form)
                return _respond(await verb(self._world, call))
        except TimeoutError as err:
            raise errors.timed_out(_SECONDS) from err

    async def _page(self, request: web.Request, user: User | None) -> Answer | None:
        """What is no object of a kind: pages, and the answers to reviews."""
        method, path = request.method, request.path
        accept = request.headers.get("Accept", "")
        if found := page(self._world, method, path, request.query, accept):
            return unless_known(found, request.headers.get("If-None-Match", ""))
        if user is None or not access.is_review(path):
            return None
        body, media = await _body(request)
        answer = access.review(method, path, user, body, media, self._authenticator)
        return Answer(encode(answer), 201)

    def _user(self, request: web.Request) -> User | None:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        return self._authenticator.user(certificate, request.headers.get("Authorization", ""))

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": JSON})
        cut = partial(_cut, request)
        async with aclosing(watch(self._world, call, cut)) as signals:
            first = await anext(signals)  # raises Refused while an answer can still say so
            self._cuts.add(cut)
            try:
                await response.prepare(request)
                await response.write(self._frames(call, first))
                async for batch in signals:
                    await response.write(self._frames(call, batch))
            except ClientConnectionResetError:
                logger.debug("watch of %s: the client has gone", request.path)
            finally:
                self._cuts.discard(cut)
        return response

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        cut = partial(_cut, request)
        self._cuts.add(cut)
        try:
            return await streams.answer(self._world, request, call)
        finally:
            self._cuts.discard(cut)

    def _frames(self, call: Call, signals: Iterable[Signal]) -> bytes:
        now, include = self._world.now(), call.query.get("includeObject", "")
        kind = call.info.kind
        return b"".join(frame(call.form, kind, signal, now, include) for signal in signals)


async def _body(request: web.Request) -> tuple[bytes, str]:
    """(body, media type): what typed clients write in protobuf is JSON from here on."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as err:
        raise errors.too_large(BODY_LIMIT) from err
    media = request.headers.get("Content-Type", "")
    if media.partition(";")[0].strip().lower() != protobuf.MEDIA_TYPE:
        return body, media
    try:
        return encode(protobuf.to_json(body)) if body else body, JSON
    except BadProtobuf as err:
        raise errors.unsupported_media_type([JSON], str(err)) from err


def _cut(request: web.Request) -> None:
    """Close a client's connection now."""
    if request.transport is not None:
        request.transport.abort()


def _respond(answer: Answer) -> web.Response:
    headers: list[tuple[str, str]] = [
        ("Content-Type", answer.content_type),
        *warning_headers(answer.warnings),
        *answer.headers,
    ]
    return web.Response(body=answer.body, status=answer.code, headers=CIMultiDict(headers))
