"""Handle HTTP requests: every path, and errors as a Status."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from aiohttp import web
from msgspec.structs import replace

from control.api.base import encode
from control.api.warnings.table import deprecation
from control.metrics import CONTENT_TYPE
from control.server.access import reviews
from control.server.access.attributes import AccessAttributes
from control.server.access.audit import AuditLog
from control.server.access.authn import ANONYMOUS, Authenticator
from control.server.access.authz import MASTERS, Authorizer, attributes_of
from control.server.access.impersonation import impersonated
from control.server.aggregation.asked import attributes_at, runs_long
from control.server.aggregation.forward import forward, require, serving
from control.server.bugs import RepeatedBugs
from control.server.conversion.webhook import converting
from control.server.fairness import dumps
from control.server.fairness.control import FlowControl, seats_of
from control.server.fairness.level import Asker
from control.server.fairness.schemas import Flow
from control.server.http import body
from control.server.http.deadlines import Deadline, Deadlines
from control.server.http.response import BUSY, in_yaml, json_of, refusal, respond
from control.server.http.send import sent
from control.server.http.watches import send_watch
from control.server.http.web_request import ServerRequest
from control.server.pages.routes import is_page, is_public, page
from control.server.state.budget import BusyError, Holding
from control.server.state.counts import RequestCounts
from control.server.state.extensions import Extension
from control.server.state.server import ServerState
from control.server.streams import relay
from control.server.streams.asked import about_stream
from control.server.verbs.table import body_kind, check_watched, forms, is_computed, verb_of
from control.server.verbs.update import may_create
from control.server.wire import errors, info
from control.server.wire.accept import WHOLE, Accept, parse_accept
from control.server.wire.errors import StatusError
from control.server.wire.media import APPLY_PATCH
from control.server.wire.request import ApiRequest, User
from control.server.wire.response import ApiResponse, text, unless_known
from control.store.base import StoreError
from control.upgrade import is_upgrade

logger = logging.getLogger(__name__)

# Upstream's --request-timeout, for everything but watches and streams.
_SECONDS = 60.0
_METRICS = "/metrics"
_CUT_OFF = 0  # in place of a code, as upstream: the client went away before the answer


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
        self._counts = RequestCounts(state.metrics, state.cache)
        self._deadlines = Deadlines(_SECONDS)
        self._fairness = FlowControl(state.cache, state.config.most_requests, state.metrics)
        self._cuts: set[Callable[[], None]] = set()  # one for each open watch and stream

    async def __call__(self, web_request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; raises only the errors of a client that has disconnected."""
        if not isinstance(web_request, ServerRequest):
            raise TypeError(f"{web_request} is not made by the server's request factory")
        began, response = time.monotonic(), None
        web_request.arrive(self._audit)
        try:
            response = await self._safely(web_request)
            return response
        finally:
            self._ended(web_request, response, time.monotonic() - began)

    def _ended(
        self, web_request: ServerRequest, response: web.StreamResponse | None, seconds: float
    ) -> None:
        code = _CUT_OFF if response is None else response.status
        if web_request.entry is not None:
            if web_request.notes is not None:
                web_request.entry.annotations.update(web_request.notes.annotations)
            web_request.entry.complete(code, web_request.json_said or json_of(response))
        if (asked := web_request.asked) is not None:
            dry_run = web_request.query.get("dryRun") == "All"
            self._counts.end(asked, code, seconds, long=_runs_long(asked), dry_run=dry_run)
        if web_request.visit is not None:
            web_request.visit.answered()

    async def _safely(self, web_request: ServerRequest) -> web.StreamResponse:
        try:
            return await self._answer(web_request)
        except StatusError as err:
            return refusal(web_request, err)
        except BusyError:
            return respond(BUSY)
        except StoreError as err:
            return refusal(web_request, errors.unavailable(str(err)))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as err:
            if (times := self._bugs.count(err)) is not None:
                logger.exception("%s %s%s", web_request.method, web_request.path, times)
            return refusal(web_request, errors.internal("see the API server's log"))

    def close(self) -> None:
        """Close the connections of all watches and streams."""
        for cut in tuple(self._cuts):
            cut()

    async def _answer(self, web_request: ServerRequest) -> web.StreamResponse:
        user = await self._authenticated(web_request)
        if (extension := serving(self._state, web_request.path)) is not None:
            return await self._extended(web_request, user, extension)
        accept = parse_accept(web_request.headers.get("Accept", ""))
        if (found := await self._page(web_request, user, accept)) is not None:
            return respond(found)
        asked = self._asked(web_request, user)
        wanted = attributes_of(asked, web_request.query)
        _begin(web_request, user, wanted, asked.kind.version)
        flow = self._flow(web_request, user, wanted)
        self._authorizer.check(user, asked, wanted)
        if relay.is_stream(asked):
            return await self._stream(web_request, ApiRequest(asked, user, web_request.query))
        verb_of(asked)  # raises for a verb that its kind does not have
        web_request.deprecation = deprecation(asked.kind)
        request = _request(web_request, asked, user, accept)
        web_request.notes = request.notes
        if asked.verb == "watch":
            check_watched(asked.kind)
        asker = Asker(flow, user.name, web_request.path, wanted)
        seats = seats_of(wanted, request.query, self._state.cache.count(asked.kind))
        if asked.verb == "watch":
            return await self._watch(web_request, request, asker, seats)
        try:
            with Deadline(self._deadlines):
                async with self._fairness.turn(flow, seats, asker):
                    return await self._carry_out(web_request, request, flow, wanted)
        except TimeoutError as err:
            raise errors.timed_out(_SECONDS) from err

    async def _watch(
        self, web_request: ServerRequest, request: ApiRequest, asker: Asker, seats: int
    ) -> web.StreamResponse:
        """Send a watch's events; it has its seats until its first events are sent.

        A client that does not read them has its seats no longer than any other request.
        """
        seat = await self._fairness.sit(asker, seats)
        rise = partial(self._fairness.rise, seat)
        latest = asyncio.get_running_loop().call_later(_SECONDS, rise)
        send = partial(send_watch, self._state, web_request, request, self._cuts, rise)
        try:
            return await converting(self._state, send)
        finally:
            latest.cancel()
            rise()

    async def _carry_out(
        self, web_request: ServerRequest, request: ApiRequest, flow: Flow, wanted: AccessAttributes
    ) -> web.StreamResponse:
        """Read a request's body, do what it asks, and send the answer."""
        with self._holding(request.user, flow) as holding:
            request = await self._with_body(web_request, request, holding, wanted)
            verb = verb_of(request.info)
            answer = await converting(self._state, partial(verb, self._state, request))
        return await sent(web_request, answer, as_yaml=request.representation.is_yaml)

    async def _authenticated(self, web_request: ServerRequest) -> User:
        """Return the user as whom a request acts; raises StatusError (401, 403)."""
        visit, headers = web_request.visit, web_request.headers
        certified = visit.user if visit is not None else None
        shown = headers.get("Authorization", "")
        user = certified or self._authenticator.user(None, shown)
        if visit is not None:
            visit.asked(web_request.content)
            if user is not None:
                visit.known()
        if user is None and not self._admits(web_request.method, web_request.path, shown):
            raise errors.unauthorized()
        user = user or ANONYMOUS
        web_request.warning = user.warning
        if web_request.entry is not None:
            web_request.entry.user = user
        await body.invite(web_request)
        return impersonated(self._authorizer, user, headers)

    def _admits(self, method: str, path: str, shown: str) -> bool:
        """Return True for what the authorizer is asked about without a user."""
        return is_public(path) or self._authenticator.invites(method, path, shown)

    def _asked(self, web_request: ServerRequest, user: User) -> info.RequestInfo:
        """Return what a request asks for; raises StatusError (404, 405; before these 403)."""
        method, path, query = web_request.method, web_request.path, web_request.query
        try:
            asked = info.parse(method, path, query, self._state.cache.kinds.by_resource)
        except StatusError:  # only who might ask for it hears that it is not there
            wanted = attributes_at(method, path, query)
            _begin(web_request, user, wanted)
            require(self._authorizer, user, wanted)
            raise
        web_request.asked = asked
        self._counts.begin(asked, long=_runs_long(asked))
        return asked

    async def _with_body(
        self,
        web_request: ServerRequest,
        request: ApiRequest,
        holding: Holding,
        wanted: AccessAttributes,
    ) -> ApiRequest:
        """Return the request with its body, and with the user's right to create its object."""
        asked = request.info
        simple, wanted_kind = not is_computed(asked), body_kind(asked)
        received = await body.read(web_request, holding, simple=simple, wanted=wanted_kind)
        if asked.verb in _READS:
            return request
        refused = None
        if received.media_type == APPLY_PATCH or may_create(asked):
            refused = self._refusal_to_create(request.user, asked, wanted)
        return replace(request, body=received, no_create=refused)

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
        self, web_request: ServerRequest, user: User, accept: Accept
    ) -> ApiResponse | None:
        """Answer a request that is not on a kind: a page or a review; None for all others."""
        path = web_request.path
        if is_page(self._state, path):
            wanted = attributes_at(web_request.method, path, web_request.query)
            _begin(web_request, user, wanted)
            flow = self._flow(web_request, user, wanted)
            require(self._authorizer, user, wanted)
            async with self._fairness.turn(flow, 1, Asker(flow, user.name, path, wanted)):
                if found := self._found(web_request, accept):
                    return unless_known(found, web_request.headers.get("If-None-Match", ""))
        if (target := reviews.review_at(path)) is not None:
            return await self._review(web_request, user, accept, target)
        return None

    def _found(self, web_request: ServerRequest, accept: Accept) -> ApiResponse | None:
        """Return the page at a path; None if there is none."""
        method, path, query = web_request.method, web_request.path, web_request.query
        if path != _METRICS and not path.startswith(dumps.ROOT):
            return page(self._state, method, path, query, accept)
        if method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if path == _METRICS:
            return ApiResponse(self._state.metrics.text().encode(), content_type=CONTENT_TYPE)
        found = dumps.dump(self._fairness.room, path, query)
        return text("404 page not found\n", 404) if found is None else text(found)

    def _flow(self, web_request: ServerRequest, user: User, wanted: AccessAttributes) -> Flow:
        """Return the flow of a request, which each answer to it names."""
        flow = self._fairness.flow(user, wanted)
        web_request.flow = self._fairness.uids(flow)
        return flow

    async def _review(
        self,
        web_request: ServerRequest,
        user: User,
        accept: Accept,
        target: reviews.ReviewTarget,
    ) -> ApiResponse:
        form = accept.representation(WHOLE)
        reviewer = reviews.Reviewer(user, self._authenticator, self._authorizer)
        wanted, kind = target.attributes(), target.resource.kind
        _begin(web_request, user, wanted, target.resource.version)
        flow = self._flow(web_request, user, wanted)
        reviews.check_review(reviewer, web_request.method, target)
        turn = self._fairness.turn(flow, 1, Asker(flow, user.name, web_request.path, wanted))
        try:
            with Deadline(self._deadlines), self._holding(user, flow) as holding:
                async with turn:
                    received = await body.read(web_request, holding, simple=True, wanted=kind)
                    made = reviews.review(reviewer, target, received)
        except TimeoutError as err:
            raise errors.timed_out(_SECONDS) from err
        answer = ApiResponse(encode(made), 201)
        return in_yaml(web_request, answer) if form.is_yaml else answer

    def _holding(self, user: User, flow: Flow | None = None) -> Holding:
        """Return what counts a body among those of its flow, or of its user."""
        whose = f"{flow.schema}/{flow.distinguisher or user.name}" if flow else user.name
        return self._state.bodies.holding(whose, is_master=MASTERS in user.groups)

    async def _extended(
        self, web_request: ServerRequest, user: User, extension: Extension
    ) -> web.StreamResponse:
        """Let an extension server answer, once it is sure that the user may ask."""
        asked = attributes_at(web_request.method, web_request.path, web_request.query)
        _begin(web_request, user, asked, extension.version)
        flow = self._flow(web_request, user, asked)
        require(self._authorizer, user, asked)
        asker, name = Asker(flow, user.name, web_request.path, asked), web_request.audit_id
        seat = await self._fairness.sit(asker, 1)
        if runs_long(asked) or is_upgrade(web_request.headers):
            self._fairness.rise(seat)  # as upstream: somebody else has begun it
        try:
            with self._open(web_request):
                return await forward(self._state, web_request, user, extension, name, asked=asked)
        finally:
            self._fairness.rise(seat)

    async def _stream(self, web_request: ServerRequest, request: ApiRequest) -> web.StreamResponse:
        web_request.notes = request.notes
        await about_stream(self._state, web_request, request)
        with self._open(web_request):
            return await relay.answer(self._state, web_request, request)

    @contextmanager
    def _open(self, web_request: ServerRequest) -> Iterator[None]:
        """Let ``close`` end a connection while it is open."""
        cut = web_request.cut
        self._cuts.add(cut)
        try:
            yield
        finally:
            self._cuts.discard(cut)


_READS = ("get", "list")


def _runs_long(asked: info.RequestInfo) -> bool:
    return asked.verb == "watch" or relay.is_stream(asked)


def _begin(
    web_request: ServerRequest, user: User, asked: AccessAttributes, version: str = ""
) -> None:
    """Tell the audit log, if there is one, what a request asks for."""
    if web_request.entry is not None and web_request.entry.asked is None:
        web_request.entry.begin(user, asked, version)


def _request(
    web_request: ServerRequest, asked: info.RequestInfo, user: User, accept: Accept
) -> ApiRequest:
    """Return the request without its body; raises StatusError (406, 422)."""
    request = ApiRequest(
        asked,
        user,
        web_request.first_values(),
        representation=accept.representation(forms(asked), watched=asked.verb == "watch"),
        agent=web_request.headers.get("User-Agent", ""),
    )
    if asked.verb in ("create", "update", "patch"):
        request.check_options()
    if "includeObject" in request.query:
        request.check_table()
    return request
