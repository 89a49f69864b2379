"""Handle HTTP requests: every path, errors as a Status, watches as streams of lines."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing
from functools import partial
from itertools import chain

import orjson
from aiohttp import ClientConnectionResetError, web
from multidict import CIMultiDict

from control.api.base import encode
from control.api.warnings.table import deprecation
from control.metrics import CONTENT_TYPE
from control.server.access import reviews
from control.server.access.attributes import AccessAttributes
from control.server.access.audit import AUDIT_ID, AuditEntry, AuditLog, audit_id
from control.server.access.authn import ANONYMOUS, Authenticator
from control.server.access.authz import MASTERS, Authorizer, attributes_of
from control.server.access.door import Visit
from control.server.access.impersonation import header_text, impersonated
from control.server.aggregation.asked import attributes_at
from control.server.aggregation.forward import forward, require, serving
from control.server.bugs import RepeatedBugs
from control.server.pages.routes import is_public, page
from control.server.state.budget import BusyError, Holding
from control.server.state.counts import RequestCounts
from control.server.state.extensions import Extension
from control.server.state.server import ServerState
from control.server.streams import relay
from control.server.streams.messages import send_events
from control.server.verbs.render import frame
from control.server.verbs.table import forms, is_computed, verb_of
from control.server.verbs.update import may_create
from control.server.verbs.watch import WatchNotice, watch
from control.server.wire import errors, info
from control.server.wire.accept import WHOLE, Accept, parse_accept
from control.server.wire.body import BODY_LIMIT, Body, read_body
from control.server.wire.compression import THRESHOLD, accepts_gzip, gzipped, is_large
from control.server.wire.errors import StatusError
from control.server.wire.media import APPLY_PATCH, JSON, YAML
from control.server.wire.request import ApiRequest, User
from control.server.wire.response import ApiResponse, unless_known, warning_headers
from control.server.wire.yaml import write
from control.store.base import StoreError
from control.upgrade import asks

logger = logging.getLogger(__name__)

# Upstream's --request-timeout, for everything but watches and streams.
_SECONDS = 60.0
_ENTRY = web.RequestKey("audit", AuditEntry)
_AUDIT_ID = web.RequestKey("audit id", str)
_SAID = web.RequestKey("the JSON of an answer in YAML", bytes)
_ASKED = web.RequestKey("what is asked for", info.RequestInfo)
_DEPRECATION = web.RequestKey("deprecation", str)
_METRICS = "/metrics"
_CUT_OFF = 0  # in place of a code, as upstream: the client went away before the answer
# Bytes that are written at once; a piece up to the second is not cut.
_CHUNK, _WHOLE = 32 * 1024, 64 * 1024


# Upstream's answer beyond --max-requests-inflight: k8s.io/apiserver/pkg/server/filters.
_BUSY = ApiResponse(
    b"Too many requests, please try again later.\n",
    429,
    content_type="text/plain; charset=utf-8",
    headers=(("Retry-After", "1"), ("X-Content-Type-Options", "nosniff")),
)


class HttpHandler:
    """The handler of all requests to one server."""

    def __init__(
        self,
        state: ServerState,
        authenticator: Authenticator,
        authorizer: Authorizer,
        audit: AuditLog | None = None,
    ) -> None:
        self._state = state
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._audit = audit
        self._bugs = RepeatedBugs()
        self._counts = RequestCounts(state.cache)
        self._cuts: set[Callable[[], None]] = set()  # one for each open watch and stream

    async def __call__(self, web_request: web.Request) -> web.StreamResponse:
        """Answer one request; raises only the errors of a client that has disconnected."""
        began, code = time.monotonic(), _CUT_OFF
        try:
            response = await self._audited(web_request)
            code = response.status
            return response
        finally:
            if asked := web_request.get(_ASKED):
                self._ended(asked, web_request, code, time.monotonic() - began)
            if visit := _visit(web_request):
                visit.answered()

    async def _audited(self, web_request: web.Request) -> web.StreamResponse:
        web_request[_AUDIT_ID] = audit_id(web_request.headers.get(AUDIT_ID, ""))
        if self._audit is None:
            return await self._safely(web_request)
        entry = web_request[_ENTRY] = _entry(self._audit, web_request)
        code, body = 0, b""
        try:
            response = await self._safely(web_request)
            code, body = response.status, web_request.get(_SAID) or _json_of(response)
            return response
        finally:
            entry.complete(code, body)

    async def _safely(self, web_request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(web_request)
        except StatusError as err:
            return _refusal(web_request, err)
        except BusyError:
            return _respond(_BUSY)
        except StoreError as err:
            return _refusal(web_request, errors.unavailable(str(err)))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as err:
            if (times := self._bugs.count(err)) is not None:
                logger.exception("%s %s%s", web_request.method, web_request.path, times)
            return _refusal(web_request, errors.internal("see the API server's log"))

    def _ended(
        self, asked: info.RequestInfo, web_request: web.Request, code: int, seconds: float
    ) -> None:
        dry_run = web_request.query.get("dryRun") == "All"
        self._counts.end(asked, code, seconds, long=_runs_long(asked), dry_run=dry_run)

    def close(self) -> None:
        """Close the connections of all watches and streams."""
        for cut in tuple(self._cuts):
            cut()

    async def _answer(self, web_request: web.Request) -> web.StreamResponse:
        user = self._user(web_request)
        _note(web_request, known=user is not None)
        if user is None and not is_public(web_request.path):
            raise errors.unauthorized()
        user = user or ANONYMOUS
        if entry := web_request.get(_ENTRY):
            entry.user = user
        user = impersonated(self._authorizer, user, web_request.headers)
        if (extension := serving(self._state, web_request.path)) is not None:
            return await self._extended(web_request, user, extension)
        accept = parse_accept(web_request.headers.get("Accept", ""))
        if (found := await self._page(web_request, user, accept)) is not None:
            return _respond(found)
        asked = self._asked(web_request)
        wanted = attributes_of(asked, web_request.query)
        _begin(web_request, user, wanted, asked.kind.version)
        self._authorizer.check(user, asked, wanted)
        if relay.is_stream(asked):
            return await self._stream(web_request, ApiRequest(asked, user, web_request.query))
        verb, made = verb_of(asked), _prepared(web_request, asked, user, accept)
        if asked.verb == "watch":
            return await self._watch(web_request, made())
        try:
            async with asyncio.timeout(_SECONDS):
                with self._holding(user) as holding:
                    body = await _body(web_request, holding, simple=not is_computed(asked))
                    request = made(body=body)
                    if body.media_type == APPLY_PATCH or may_create(asked):
                        refusal = self._refusal_to_create(user, asked, wanted)
                        request = dataclasses.replace(request, no_create=refusal)
                    answer = await verb(self._state, request)
                return await _sent(web_request, answer, as_yaml=request.representation.is_yaml)
        except TimeoutError as err:
            raise errors.timed_out(_SECONDS) from err

    def _asked(self, web_request: web.Request) -> info.RequestInfo:
        kinds = self._state.cache.kinds.by_resource
        asked = info.parse(web_request.method, web_request.path, web_request.query, kinds)
        web_request[_DEPRECATION], web_request[_ASKED] = deprecation(asked.kind), asked
        self._counts.begin(asked, long=_runs_long(asked))
        return asked

    def _refusal_to_create(
        self, user: User, asked: info.RequestInfo, wanted: AccessAttributes
    ) -> StatusError | None:
        """Return why a user may not create the object of a write; None if the user may."""
        try:
            self._authorizer.require(user, wanted._replace(verb="create"), asked)
        except StatusError as err:
            return err
        return None

    async def _page(
        self, web_request: web.Request, user: User, accept: Accept
    ) -> ApiResponse | None:
        """Answer a request that is not on a kind: a page or a review; None for all others."""
        method, path = web_request.method, web_request.path
        if path == _METRICS:
            if method not in ("GET", "HEAD"):
                raise errors.method_not_allowed()
            _begin(web_request, user, AccessAttributes(method.lower(), path=path))
            self._authorizer.check_path(user, method, path)
            text = self._counts.registry.text().encode()
            return ApiResponse(text, content_type=CONTENT_TYPE)
        if found := page(self._state, method, path, web_request.query, accept):
            _begin(web_request, user, AccessAttributes(method.lower(), path=path))
            self._authorizer.check_path(user, method, path)
            return unless_known(found, web_request.headers.get("If-None-Match", ""))
        if (target := reviews.review_at(path)) is None:
            return None
        form = accept.representation(WHOLE)
        reviewer = reviews.Reviewer(user, self._authenticator, self._authorizer)
        _begin(web_request, user, target.attributes(), target.resource.version)
        reviews.check_review(reviewer, method, target)
        try:
            async with asyncio.timeout(_SECONDS):
                with self._holding(user) as holding:
                    body = await _body(web_request, holding, simple=True)
        except TimeoutError as err:
            raise errors.timed_out(_SECONDS) from err
        answer = ApiResponse(encode(reviews.review(reviewer, target, body)), 201)
        return _in_yaml(web_request, answer) if form.is_yaml else answer

    def _holding(self, user: User) -> AbstractContextManager[Holding]:
        return self._state.bodies.holding(user.name, is_master=MASTERS in user.groups)

    def _user(self, web_request: web.Request) -> User | None:
        transport = web_request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        return self._authenticator.user(certificate, web_request.headers.get("Authorization", ""))

    async def _watch(self, web_request: web.Request, request: ApiRequest) -> web.StreamResponse:
        cut = partial(_cut, web_request)
        async with aclosing(watch(self._state, request, cut)) as signals:
            first = await anext(signals)  # raises StatusError before the response begins
            self._cuts.add(cut)
            try:
                batches = self._batches(request, first, signals)
                if asks(web_request.headers, "websocket"):
                    return await send_events(web_request, batches, partial(_started, web_request))
                return await _send_lines(web_request, batches)
            finally:
                self._cuts.discard(cut)

    async def _batches(
        self,
        request: ApiRequest,
        first: list[WatchNotice],
        rest: AsyncGenerator[list[WatchNotice], None],
    ) -> AsyncGenerator[Iterable[Iterable[bytes]], None]:
        """Yield the encoded events of a watch, each in pieces."""
        yield self._events(request, first)
        async for signals in rest:
            yield self._events(request, signals)

    def _events(
        self, request: ApiRequest, signals: Iterable[WatchNotice]
    ) -> Iterator[Iterable[bytes]]:
        now, include = self._state.now(), request.query.get("includeObject", "")
        form, kind = request.representation, request.info.kind
        return (frame(form, kind, signal, now, include) for signal in signals)

    async def _stream(self, web_request: web.Request, request: ApiRequest) -> web.StreamResponse:
        cut = partial(_cut, web_request)
        self._cuts.add(cut)
        try:
            return await relay.answer(self._state, web_request, request)
        finally:
            self._cuts.discard(cut)

    async def _extended(
        self, web_request: web.Request, user: User, extension: Extension
    ) -> web.StreamResponse:
        """Let an extension server answer, once it is sure that the user may ask."""
        asked = attributes_at(web_request.method, web_request.path, web_request.query)
        _begin(web_request, user, asked, extension.version)
        require(self._authorizer, user, asked)
        cut, audit = partial(_cut, web_request), web_request[_AUDIT_ID]
        self._cuts.add(cut)
        try:
            return await forward(self._state, web_request, user, extension, audit, asked=asked)
        finally:
            self._cuts.discard(cut)


async def identify(web_request: web.Request, response: web.StreamResponse) -> None:
    """Name the request's audit event in the headers of its answer, of whatever sort it is.

    As upstream's, no cache between client and server may keep it, unless it says otherwise. Each
    answer on a deprecated kind also has the warning of it.
    """
    response.headers.setdefault("Cache-Control", "no-cache, private")
    response.headers[AUDIT_ID] = web_request.get(_AUDIT_ID) or audit_id("")
    if text := web_request.get(_DEPRECATION):
        response.headers.extend(warning_headers([text]))


def _runs_long(asked: info.RequestInfo) -> bool:
    return asked.verb == "watch" or relay.is_stream(asked)


def _refusal(web_request: web.Request, err: StatusError) -> web.Response:
    answer = _refused(err)
    if parse_accept(web_request.headers.get("Accept", "")).prefers_yaml():
        answer = _in_yaml(web_request, answer)
    return _respond(answer)


def _in_yaml(web_request: web.Request, answer: ApiResponse) -> ApiResponse:
    """Return an answer of one object in YAML; the audit log keeps it in JSON."""
    if answer.content_type != JSON:
        return answer
    web_request[_SAID] = answer.body
    pieces = write.pieces(orjson.loads(answer.body))
    if len(answer.body) > _CHUNK:
        return dataclasses.replace(answer, body=b"", content_type=YAML, pieces=pieces)
    return dataclasses.replace(answer, body=b"".join(pieces), content_type=YAML)


def _refused(err: StatusError) -> ApiResponse:
    details = err.status.details
    seconds = details.retry_after_seconds if details else None
    headers = (("Retry-After", str(seconds)),) if seconds else ()
    return ApiResponse(err.body(), err.code, warnings=err.warnings, headers=headers)


def _entry(log: AuditLog, web_request: web.Request) -> AuditEntry:
    """Return what the audit log will say of a request, as far as it is known."""
    agent = header_text(web_request.headers.get("User-Agent", ""))
    uri, source = str(web_request.rel_url), web_request.remote or ""
    return AuditEntry(log, uri, source, agent, web_request[_AUDIT_ID])


def _begin(
    web_request: web.Request, user: User, asked: AccessAttributes, version: str = ""
) -> None:
    """Tell the audit log, if there is one, what a request asks for."""
    entry: AuditEntry | None = web_request.get(_ENTRY)
    if entry is not None:
        entry.begin(user, asked, version)


def _prepared(
    web_request: web.Request, asked: info.RequestInfo, user: User, accept: Accept
) -> Callable[..., ApiRequest]:
    """Return what makes the request with its body; raises StatusError (406, 422)."""
    made = partial(
        ApiRequest,
        asked,
        user,
        _query(web_request),
        representation=accept.representation(forms(asked), watched=asked.verb == "watch"),
        agent=web_request.headers.get("User-Agent", ""),
    )
    if asked.verb in ("create", "update", "patch"):
        made().check_options()
    return made


def _query(web_request: web.Request) -> dict[str, str]:
    """Return the first value of each parameter; of ``dryRun``, all of them."""
    query = dict(web_request.query)
    if "dryRun" in query:
        query["dryRun"] = ",".join(web_request.query.getall("dryRun"))
    return query


def _json_of(response: web.StreamResponse) -> bytes:
    """Return the body of a response that is JSON and was sent at once; else nothing."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) and response.content_type == JSON else b""


def _note(web_request: web.Request, *, known: bool) -> None:
    """Tell the door that a request has arrived, and whether its client is known."""
    if visit := _visit(web_request):
        visit.asked(web_request.content)
        if known:
            visit.known()


def _visit(web_request: web.Request) -> Visit | None:
    found = web_request.transport.get_protocol() if web_request.transport else None
    return found if isinstance(found, Visit) else None


async def _body(web_request: web.Request, holding: Holding, *, simple: bool) -> Body:
    """Read and decode the body of a request that writes; raises StatusError (400, 413, 415).

    Raises BusyError if there is no room for it.
    """
    raw = await _read(web_request, holding)
    if web_request.method in ("GET", "HEAD"):
        return Body()
    body = read_body(raw, web_request.headers.get("Content-Type", ""), simple=simple)
    if entry := web_request.get(_ENTRY):
        entry.body = body
    return body


async def _read(web_request: web.Request, holding: Holding) -> bytes:
    pieces, size = [], 0
    async for piece in web_request.content.iter_any():
        size += len(piece)
        if size > BODY_LIMIT:
            raise errors.too_large(f"limit is {BODY_LIMIT}")
        holding.grow(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


async def _send_lines(
    web_request: web.Request, batches: AsyncGenerator[Iterable[Iterable[bytes]], None]
) -> web.StreamResponse:
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


def _started(web_request: web.Request, response: web.StreamResponse) -> None:
    """Tell the audit log that a long answer has begun."""
    if entry := web_request.get(_ENTRY):
        entry.write("ResponseStarted", response.status)


def _cut(web_request: web.Request) -> None:
    """Close a client's connection without waiting for unsent data."""
    if web_request.transport is not None:
        web_request.transport.abort()


async def _sent(
    web_request: web.Request, answer: ApiResponse, *, as_yaml: bool = False
) -> web.StreamResponse:
    """Send a large body in pieces; a client that does not read them in time is cut off."""
    if as_yaml:
        answer = _in_yaml(web_request, answer)
    pieces, packed = answer.pieces, False
    if accepts_gzip(web_request.headers.get("Accept-Encoding", "")):
        # The audit log reads the body of an answer that is sent at once.
        if pieces is None and len(answer.body) > THRESHOLD and _ENTRY not in web_request:
            pieces = iter((answer.body,))
        if pieces is not None:
            packed, pieces = await is_large(pieces)
    if pieces is None:
        return _respond(answer)
    response = web.StreamResponse(status=answer.code, headers=_headers(answer))
    try:
        await (_send_packed if packed else _send_plain)(web_request, response, pieces)
    except asyncio.CancelledError:
        _cut(web_request)
        raise
    return response


async def _send_plain(
    web_request: web.Request, response: web.StreamResponse, pieces: Iterable[bytes]
) -> None:
    await response.prepare(web_request)
    await send(response, pieces)
    await response.write_eof()


async def _send_packed(
    web_request: web.Request, response: web.StreamResponse, pieces: Iterable[bytes]
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


def _headers(answer: ApiResponse) -> CIMultiDict[str]:
    given = (*warning_headers(answer.warnings), *answer.headers)
    return CIMultiDict([("Content-Type", answer.content_type), *given])


def _respond(answer: ApiResponse) -> web.Response:
    return web.Response(body=answer.body, status=answer.code, headers=_headers(answer))
