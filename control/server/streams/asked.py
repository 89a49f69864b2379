"""Ask about streams to Pods and proxied requests: the operation CONNECT, with its options."""

from typing import Any

from aiohttp import web

from control.api.kind import Kind
from control.api.meta import Object
from control.server.state.gate import CONNECT, Change, admitted
from control.server.state.server import ServerState
from control.server.wire.info import PROXY, is_true
from control.server.wire.request import ApiRequest

_FLAGS = ("stdin", "stdout", "stderr", "tty")
_NAMES = {
    ("pods", "exec"): "PodExecOptions",
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", PROXY): "PodProxyOptions",
    ("services", PROXY): "ServiceProxyOptions",
    ("nodes", PROXY): "NodeProxyOptions",
}


async def about_stream(state: ServerState, web_request: web.Request, request: ApiRequest) -> None:
    """Ask about a connection, before it is made; raises StatusError."""
    info = request.info
    name = _NAMES.get((info.kind.plural, info.subresource))
    if name is None:
        return  # a log is read
    kind = Kind("", "v1", name, name.lower(), Object)
    head: dict[str, Any] = {"kind": name, "apiVersion": "v1"}
    options = head | _options(web_request, info.subresource)
    await admitted(state, request, CONNECT, Change(kind, options))


def _options(web_request: web.Request, subresource: str) -> dict[str, Any]:
    query = web_request.query
    if subresource == PROXY:
        path = web_request.path.partition(f"/{PROXY}")[2]
        return {"path": path} if path else {}
    if subresource == "portforward":
        ports = [text for each in query.getall("ports", []) for text in each.split(",")]
        numbers = [int(text) for text in ports if text.isdecimal() and len(text) < 6]
        return {"ports": numbers} if numbers else {}
    made: dict[str, Any] = {name: True for name in _FLAGS if is_true(query.get(name, "0"))}
    if container := query.get("container", ""):
        made["container"] = container
    if command := query.getall("command", []):
        made["command"] = command
    return made
