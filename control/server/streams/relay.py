"""Relay pods/log, pods/exec, pods/attach and pods/portforward to the Pod's agent.

The API server finds the Pod's node and sends a request in the kubelet's form over TLS, with
``--kubelet-client-cert``. It relays the answer: the bytes of a log, of a WebSocket or of SPDY;
it does not look into them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from control.api import kinds
from control.api.node import Node
from control.api.pod import Pod
from control.server.state.server import ApiServerConfig, ServerState
from control.server.streams.agents import agent_tls
from control.server.streams.messages import send_bytes
from control.server.streams.proxy import relay as proxy
from control.server.streams.target import TARGETS
from control.server.verbs import read
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import PROXY, RequestInfo, storage_key
from control.server.wire.request import ApiRequest
from control.upgrade import SPDY, VERSIONS, accept, asks, copy_both, of_response

_CONNECT_SECONDS = 10.0
_MAX_REASON = 2048  # bytes of an agent's refusal, as in upstream
_AGREED = {
    VERSIONS.lower(),
    "sec-websocket-accept",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
}


def is_stream(info: RequestInfo) -> bool:
    """Return True for a request that this module relays."""
    return info.subresource == PROXY or (info.kind is kinds.POD and info.subresource in TARGETS)


async def answer(
    state: ServerState, web_request: web.Request, request: ApiRequest
) -> web.StreamResponse:
    """Relay a request to the agent; raises StatusError before the response begins."""
    if request.info.subresource == PROXY:
        return await proxy.answer(state, web_request, request)
    if request.info.subresource == "log" and request.info.verb != "get":
        raise errors.method_not_allowed()
    pod = Pod.parse(dict((await read.get(state, request)).wire))
    target = TARGETS[request.info.subresource](pod, web_request.query)
    if not pod.spec.node_name:
        if request.info.subresource == "log":
            return web.Response(status=204)  # as in upstream: the log is empty
        raise errors.bad_request(f"pod {pod.metadata.name} does not have a host assigned")
    url = target.at(_node(state, pod.spec.node_name))
    async with _agent(state.config, pod, request) as session:
        if request.info.subresource == "log":
            return await _copy(web_request, session, url)
        for protocol in (SPDY, "websocket"):
            if asks(web_request.headers, protocol):
                return await _relay(web_request, session, url, protocol)
        # The agent refuses it, too, with a better cause if there is one.
        await (await session.request(web_request.method, url)).read()
        raise errors.bad_request("Upgrade request required")


def _node(state: ServerState, name: str) -> Node:
    item = state.cache.of(kinds.NODE).get(storage_key(kinds.NODE, "", name))
    if item is None:
        raise errors.not_found(kinds.NODE, name)
    return Node.parse(dict(item.wire))


@asynccontextmanager
async def _agent(
    config: ApiServerConfig, pod: Pod, request: ApiRequest
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with a Pod's agent; its refusals and failures become StatusErrors."""

    async def check(response: aiohttp.ClientResponse) -> None:
        if response.status >= 400:
            text = await response.content.read(_MAX_REASON)
            raise _refused(response.status, text.decode(errors="replace").strip())

    unverified = request.flag("insecureSkipTLSVerifyBackend")
    connector = aiohttp.TCPConnector(ssl=agent_tls(config, unverified=unverified), force_close=True)
    limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    try:
        async with aiohttp.ClientSession(
            connector=connector, timeout=limits, raise_for_status=check, auto_decompress=False
        ) as session:
            yield session
    except (aiohttp.ClientError, TimeoutError) as err:
        why = str(err) or f"no answer within {_CONNECT_SECONDS:.0f} s"
        text = f"error dialing backend: the agent of node {pod.spec.node_name}: {why}"
        raise StatusError(500, "InternalError", text) from err


def _refused(code: int, text: str) -> StatusError:
    """Return an agent's refusal, which is one sentence, as a StatusError."""
    if code == 400:
        return errors.bad_request(text)
    if code == 404:
        return StatusError(404, "NotFound", text)
    return errors.internal(text or f"the agent answered {code}")


async def _copy(
    web_request: web.Request, session: aiohttp.ClientSession, url: URL
) -> web.StreamResponse:
    """Relay a response's body as it arrives."""
    async with session.get(url) as source:
        if asks(web_request.headers, "websocket"):
            return await send_bytes(web_request, source.content.iter_any())
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(web_request)
        try:
            async for piece in source.content.iter_any():
                await response.write(piece)
        except aiohttp.ClientPayloadError:
            _cut(web_request)  # the only way left to show that the body is incomplete
        except aiohttp.ClientConnectionResetError:
            return response
        return response


def _cut(web_request: web.Request) -> None:
    if web_request.transport is not None:
        web_request.transport.abort()


async def _relay(
    web_request: web.Request, session: aiohttp.ClientSession, url: URL, protocol: str
) -> web.StreamResponse:
    """Relay the bytes of a WebSocket or of SPDY both ways; client and agent agree on the rest."""
    headers = CIMultiDict({"Connection": "Upgrade", "Upgrade": protocol})
    headers.extend(_passed(web_request.headers))
    async with session.request(
        web_request.method, url, headers=headers, read_until_eof=False
    ) as answer:
        if answer.status != 101:
            raise errors.internal(f"the agent answered {answer.status}: want 101")
        back = of_response(answer)
        front = await accept(web_request, protocol, _passed(answer.headers))
        try:
            await copy_both(front, back)
        finally:
            answer.close()
        return front.response


def _passed(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the headers in which both ends agree on a protocol."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() in _AGREED)
