"""The agent's HTTPS server, with kubelet's paths; the API server is its one client.

Only certificates of the cluster's CA get in, and of those only the API server's own
(``kube-apiserver-kubelet-client``) and administrators': whoever may exec is root on the node.
"""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiohttp import web

from control.agent.config import ServerConfig
from control.agent.pods.decide import latest
from control.agent.runtime import Container, Phase, Runtime, RuntimeFailure
from control.agent.server import exec as channels
from control.agent.server import logs
from control.api.pod import Pod
from control.client import Informer

logger = logging.getLogger(__name__)

_CLIENT, _ADMINISTRATORS = "kube-apiserver-kubelet-client", "system:masters"


class Served(Protocol):
    """What the server shows of the agent."""

    @property
    def runtime(self) -> Runtime:
        """Who runs the containers."""

    @property
    def pods(self) -> Informer[Pod]:
        """The Pods bound to this node."""


@asynccontextmanager
async def serve(config: ServerConfig, agent: Served) -> AsyncIterator[None]:
    """Serve while the context is open; without a certificate, nothing listens."""
    if config.certificate is None:
        yield
        return
    runner = web.AppRunner(application(agent), shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    context = _tls(config)
    host = config.address or None
    site = web.TCPSite(runner, host, config.port, ssl_context=context, reuse_address=True)
    try:
        await site.start()
        yield
    finally:
        await runner.cleanup()


def _tls(config: ServerConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(config.certificate), config.key)
    return context


def application(agent: Served) -> web.Application:
    """The routes; see docs/agent.md."""
    handlers = _Handlers(agent)
    app = web.Application(middlewares=[_authorise])
    app.router.add_get("/healthz", handlers.healthz)
    app.router.add_get("/pods", handlers.pods)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", handlers.logs)
    for verb, handler in (("exec", handlers.exec), ("attach", handlers.attach)):
        for path in ("{container}", "{uid}/{container}"):
            app.router.add_get(f"/{verb}/{{namespace}}/{{pod}}/{path}", handler)
    return app


@web.middleware
async def _authorise(request: web.Request, handler: Any) -> web.StreamResponse:
    """kubelet asks the API server (SubjectAccessReview); two names are enough here."""
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    if certificate is not None:
        subject = {key: value for part in certificate.get("subject", ()) for key, value in part}
        names = subject.get("commonName"), subject.get("organizationName")
        if names[0] != _CLIENT and names[1] != _ADMINISTRATORS:
            raise web.HTTPForbidden(text=f"{names[0]} may not use the agent's server\n")
    response: web.StreamResponse = await handler(request)
    return response


class _Handlers:
    def __init__(self, agent: Served) -> None:
        self._agent = agent

    async def healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def pods(self, _: web.Request) -> web.Response:
        items = [pod.wire() for pod in self._agent.pods.snapshot().values()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    # -- logs ------------------------------------------------------------------------------------

    async def logs(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = logs.options(request.query, datetime.now(UTC))
        except logs.BadOption as err:
            raise web.HTTPBadRequest(text=f"{err}\n") from err
        container = self._container(request, previous=wanted.previous)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        left = wanted.limit
        async for line in logs.entries(
            Path(container.log_path), wanted, lambda: self._runs(container.id)
        ):
            data = logs.shown(line, wanted.timestamps)[:left]
            await response.write(data)
            if left is not None and (left := left - len(data)) <= 0:
                break
        await response.write_eof()
        return response

    # -- exec and attach -------------------------------------------------------------------------

    async def exec(self, request: web.Request) -> web.StreamResponse:
        command = tuple(request.query.getall("command", []))
        if not command:
            raise web.HTTPBadRequest(text="exec: no command\n")
        container = self._container(request)
        if container.phase is not Phase.RUNNING:
            raise web.HTTPBadRequest(text=f"container {container.name} is not running\n")
        socket = await self._upgrade(request)
        try:
            stream = await self._agent.runtime.open_exec(
                container.id, command,
                stdin=_asks(request, "input", "stdin"), terminal=_asks(request, "tty"),
            )  # fmt: skip
        except RuntimeFailure as err:
            await channels.finish(socket, channels.failure(str(err)))
            return socket
        await channels.relay(socket, stream)
        return socket

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """The outputs from now on, through the log; input needs a shim that passes it on."""
        container = self._container(request)
        socket = await self._upgrade(request)
        if _asks(request, "input", "stdin"):
            text = "attach: this runtime does not pass standard input on; use kubectl exec -i"
            await channels.finish(socket, channels.failure(text))
            return socket
        wanted = logs.Options(follow=True, tail=0)
        numbers = {"stdout": channels.STDOUT, "stderr": channels.STDERR}
        async for line in logs.entries(
            Path(container.log_path), wanted, lambda: self._runs(container.id)
        ):
            await socket.send_bytes(bytes([numbers.get(line.stream, 1)]) + line.text)
        await channels.finish(socket, channels.exit_status(0))
        return socket

    async def _upgrade(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=channels.PROTOCOLS, heartbeat=30, max_msg_size=0)
        if not socket.can_prepare(request):
            raise web.HTTPBadRequest(
                text="exec and attach need a WebSocket (kubectl 1.31 or later), not SPDY\n"
            )
        await socket.prepare(request)
        return socket

    # -- finding ---------------------------------------------------------------------------------

    def _container(self, request: web.Request, *, previous: bool = False) -> Container:
        """The container that a path names; raises HTTPNotFound, or HTTPBadRequest as kubelet."""
        match = request.match_info
        pod = self._agent.pods.get(match["namespace"], match["pod"])
        if pod is None:
            raise web.HTTPNotFound(text=f'pod "{match["pod"]}" not found\n')
        name = match["container"]
        found = [it for it in self._agent.runtime.observe().containers
                 if it.pod.uid == pod.metadata.uid and it.name == name]  # fmt: skip
        newest = latest(tuple(found), name)
        if previous:
            dead = [it for it in found if it.phase is Phase.EXITED
                    and (newest is None or it.id != newest.id or len(found) == 1)]  # fmt: skip
            newest = latest(tuple(dead), name)
            if newest is None:
                raise web.HTTPBadRequest(text=f'previous terminated container "{name}" in pod '
                                         f'"{match["pod"]}" not found\n')  # fmt: skip
        if newest is None:
            raise web.HTTPBadRequest(text=f'container "{name}" in pod "{match["pod"]}" is waiting '
                                     "to start\n")  # fmt: skip
        return newest

    def _runs(self, container_id: str) -> bool:
        return any(it.id == container_id and it.phase is Phase.RUNNING
                   for it in self._agent.runtime.observe().containers)  # fmt: skip


def _asks(request: web.Request, *names: str) -> bool:
    return any(request.query.get(name, "").lower() in ("1", "true") for name in names)
