"""Carry a request to an extension server, in the name of its user.

Its server learns the user by headers, and by this server's certificate that they are true.
Refusals of the way there are plain text, as upstream's. Source: handler_proxy.go of
k8s.io/kube-aggregator.
"""

import asyncio
from functools import partial
from urllib.parse import quote

import aiohttp
from aiohttp import web

from control.server.access.attributes import AccessAttributes
from control.server.access.audit import AUDIT_ID
from control.server.access.authz import Authorizer, refusal
from control.server.aggregation.asked import runs_long
from control.server.aggregation.check import SECONDS
from control.server.aggregation.client import identity, session_with
from control.server.remote.services import RemoteError, targets
from control.server.state.extensions import Extension
from control.server.state.server import ServerState
from control.server.streams.proxy.carry import (
    Outgoing,
    copied,
    forwarded,
    passed,
    send,
    upgraded,
)
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.request import User
from control.upgrade import is_upgrade

_SECONDS = 60.0  # as for all requests: upstream's --request-timeout
_SAFE = "/:@!$&'()*+,;=~-._"
_REDIRECT = "the backend attempted to redirect this request, which is not permitted"
_SCHEMAS = "/openapi/v3"
OPENAPI = User("system:aggregator", ("system:masters",))


def serving(state: ServerState, path: str) -> Extension | None:
    """Return the extension that serves a path or its schemas; None if this server does."""
    if not state.extensions.by_version:
        return None
    return state.extensions.at(path.removeprefix(_SCHEMAS))


def require(authorizer: Authorizer, user: User, asked: AccessAttributes) -> None:
    """Refuse an action that is known by its path alone; raises StatusError (403)."""
    verdict = authorizer.decide(user, asked)
    if verdict.allowed:
        return
    why = refusal(user, asked, verdict)
    if asked.path:
        raise errors.forbidden_path(why)
    if not asked.name:
        raise errors.forbidden_resource(asked.group, asked.resource, why)
    raise errors.forbidden_named(asked.group, asked.resource, asked.name, why)


async def forward(
    state: ServerState,
    web_request: web.Request,
    user: User,
    extension: Extension,
    audit_id: str,
    *,
    asked: AccessAttributes,
) -> web.StreamResponse:
    """Answer by what an extension's server answers."""
    if extension.group_version not in state.extensions.available:
        return _plain("service unavailable", 503)
    seconds = SECONDS if asked.path else _SECONDS
    endless = runs_long(asked) or is_upgrade(web_request.headers)
    try:
        async with asyncio.timeout(None if endless else seconds):
            return await _carried(state, web_request, user, extension, audit_id)
    except RemoteError:
        return _plain("service unavailable", 503)
    except TimeoutError as err:
        raise errors.timed_out(seconds) from err
    except StatusError as err:
        return _plain(str(err), err.code)


async def _carried(
    state: ServerState, web_request: web.Request, user: User, extension: Extension, audit_id: str
) -> web.StreamResponse:
    if web_request.path.startswith(_SCHEMAS):
        user = OPENAPI
    target = targets(state, extension)[0]
    headers = forwarded(web_request)
    headers.popall(AUDIT_ID, None)
    headers[AUDIT_ID] = audit_id
    headers["Host"] = target
    headers.extend(identity(user))
    query = web_request.rel_url.raw_query_string
    # The path as it was authorized, not as the client wrote it.
    path = quote(web_request.path, safe=_SAFE, errors="replace")
    headers["X-Forwarded-Host"], headers["X-Forwarded-Proto"] = target, "https"
    headers["X-Forwarded-Uri"] = path
    url = f"https://{target}{path}"
    name = None if extension.unverified else extension.host
    outgoing = Outgoing(f"{url}?{query}" if query else url, headers, name)
    async with session_with(state, extension) as session:
        call, whole = partial(send, web_request, session, outgoing), partial(_whole, web_request)
        if is_upgrade(web_request.headers):
            return await upgraded(web_request, call, whole)
        async with await call() as source:
            return await whole(source)


async def _whole(web_request: web.Request, source: aiohttp.ClientResponse) -> web.StreamResponse:
    if 300 <= source.status < 400 and source.headers.get("Location"):
        return _plain(_REDIRECT, 502, end="")
    headers = passed(source.headers)
    headers.popall(AUDIT_ID, None)
    return await copied(web_request, source, headers)


def _plain(text: str, code: int, end: str = "\n") -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text + end, status=code, headers=headers)
