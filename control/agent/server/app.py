"""The agent's HTTPS server, with the kubelet's paths.

    GET      /containerLogs/NAMESPACE/POD/CONTAINER?follow=&tailLines=&...
    GET|POST /exec/NAMESPACE/POD/CONTAINER?command=&input=&output=&error=&tty=
    GET|POST /attach/NAMESPACE/POD/CONTAINER?input=&output=&error=&tty=
    GET|POST /portForward/NAMESPACE/POD?port=
    GET      /pods, /healthz, /configz, /stats/summary
    GET      /metrics, /metrics/resource, /metrics/cadvisor

Exec, attach and portForward change the connection to WebSocket or SPDY/3.1, as the client asks.

``access.py`` says who may come in.
"""

import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict

from control.agent.config import ServerConfig, StreamLimits
from control.agent.server import forward, logs, lookup, session, stats
from control.agent.server.access import Access
from control.agent.server.channels import Wanted, parse_wanted
from control.agent.server.dial import dial
from control.agent.server.errors import HttpError
from control.api.base import encode
from control.api.pod import Pod
from control.metrics import Registry
from control.runtime.base import Container, ContainerRuntimeError, ExecStream, Phase, Runtime
from control.runtime.used import RuntimeUsage
from control.tls import load_authority, load_identity
from control.upgrade import REQUEST_LINE

logger = logging.getLogger(__name__)

_LAST_ANSWERS = 1.0
_PLAIN = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Start = Callable[[], Awaitable[ExecStream]]


class PodLister(Protocol):
    """The Pods of this node, as an informer has them."""

    def get(self, namespace: str | None, name: str) -> Pod | None:
        """Return one Pod, if it is there."""

    def snapshot(self) -> Mapping[tuple[str, str], Pod]:
        """Return all Pods by key."""


class ServedNode(Protocol):
    """The node that the server serves."""

    @property
    def pods(self) -> PodLister:
        """The Pods that should run here."""

    @property
    def name(self) -> str:
        """The node's name."""

    @property
    def runtime(self) -> Runtime:
        """The runtime of their containers."""

    @property
    def metrics(self) -> Registry:
        """The metrics that the node counts itself."""

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings, with the names of a KubeletConfiguration."""


class ServerSettingsError(ValueError):
    """The server must not be started; the text says what is missing."""


@asynccontextmanager
async def serve(
    settings: ServerConfig,
    node: ServedNode,
    access: Access | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve a node while the context lasts, and give the port.

    Without a certificate there is no server, and the port is 0. Default of ``access``: the API
    server and administrators. ``tls`` is the server's context, if the caller renews its
    certificate. Raises ServerSettingsError, CertificateError, OSError.
    """
    if settings.certificate is None:
        logger.warning("no --tls-cert: kubectl logs and exec will not work on this node")
        yield 0
        return
    access = access or Access(node.name, None)
    runner = web.AppRunner(
        application(node, settings.streams, access),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=_LAST_ANSWERS,
        max_line_size=REQUEST_LINE,
    )
    tls = tls or server_tls(settings, tokens=access.takes_tokens)
    await runner.setup()
    try:
        host = settings.address or None
        await web.TCPSite(runner, host, settings.port, ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def server_tls(settings: ServerConfig, *, tokens: bool = False) -> ssl.SSLContext:
    """Return TLS settings that accept only clients of the cluster's authority.

    With ``tokens`` also clients without a certificate.

    Raises ServerSettingsError, CertificateError.
    """
    if settings.certificate is None or settings.key is None or settings.client_ca is None:
        raise ServerSettingsError(
            "--tls-cert needs --tls-key and --client-ca: exec is not for everyone"
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_authority(context, settings.client_ca)
    load_identity(context, settings.certificate, settings.key)
    context.verify_mode = ssl.CERT_OPTIONAL if tokens else ssl.CERT_REQUIRED
    return context


def application(
    node: ServedNode, limits: StreamLimits, access: Access | None = None
) -> web.Application:
    """Return the application; without ``access`` it accepts every client as the API server."""
    server = RequestHandlers(node, limits)
    app = web.Application(middlewares=[_answers, *([_guarded(access)] if access else [])])
    app.router.add_get("/healthz", server.healthz)
    app.router.add_get("/pods", server.list_pods)
    app.router.add_get("/configz", server.configz)
    app.router.add_get("/metrics", server.metrics)
    app.router.add_get("/metrics/resource", server.resource_metrics)
    app.router.add_get("/metrics/cadvisor", server.cadvisor_metrics)
    app.router.add_get("/stats/summary", server.summary)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", server.logs)
    for verb, handler in (("exec", server.execute), ("attach", server.attach)):
        for path in ("{namespace}/{pod}/{container}", "{namespace}/{pod}/{uid}/{container}"):
            app.router.add_get(f"/{verb}/{path}", handler)
            app.router.add_post(f"/{verb}/{path}", handler)
    for path in ("{namespace}/{pod}", "{namespace}/{pod}/{uid}"):
        app.router.add_get(f"/portForward/{path}", server.forward)
        app.router.add_post(f"/portForward/{path}", server.forward)
    return app


def _guarded(access: Access) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        await access.check(request)
        return await handler(request)

    return guarded


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HttpError as refusal:
        return web.Response(
            status=refusal.code, text=str(refusal), headers=CIMultiDict(refusal.headers)
        )


class RequestHandlers:
    """One handler for each path."""

    def __init__(self, node: ServedNode, limits: StreamLimits) -> None:
        self._node, self._started = node.name, time.time()
        self._settings = node.settings
        self._metrics = node.metrics
        self._pods, self._runtime, self._limits = node.pods, node.runtime, limits

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Answer ok: the server runs."""
        return web.Response(text="ok")

    async def list_pods(self, _request: web.Request) -> web.StreamResponse:
        """Answer the Pods that should run here, as a PodList."""
        items = [pod.wire() for pod in self._pods.snapshot().values()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.Response(body=encode(body), content_type="application/json")

    async def configz(self, _request: web.Request) -> web.StreamResponse:
        """Answer the agent's settings, as kubelet's ``kubeletconfig``."""
        body = encode({"kubeletconfig": dict(self._settings)})
        return web.Response(body=body, content_type="application/json")

    async def resource_metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer what the node and its containers use, as text for Prometheus."""
        used = await self._usage()
        text = stats.resource_metrics(used, self._containers())
        return web.Response(text=text, headers=_PLAIN)

    async def cadvisor_metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer what containers use by cAdvisor's names, as text for Prometheus."""
        used = await self._usage()
        text = stats.cadvisor_metrics(used, self._containers())
        return web.Response(text=text, headers=_PLAIN)

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer what runs here, and what the agent itself uses, as text for Prometheus."""
        text = stats.kubelet_metrics(self._node, self._runtime.observe(), self._metrics)
        return web.Response(text=text, headers=_PLAIN)

    async def summary(self, _request: web.Request) -> web.StreamResponse:
        """Answer what the node and its containers use, as JSON."""
        used = await self._usage()
        body = stats.summary(self._node, self._started, used, self._containers())
        return web.Response(body=encode(body), content_type="application/json")

    async def _usage(self) -> RuntimeUsage:
        """Return what has been used until now; raises HttpError if the runtime does not say it."""
        try:
            return await self._runtime.usage()
        except ContainerRuntimeError as err:
            raise HttpError(500, str(err)) from err

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Answer a container's log."""
        options = logs.options_of(request)
        pod, name = self._pod(request), request.match_info["container"]
        container = lookup.with_log(pod, name, self._containers(), options.previous)
        return await logs.send(request, container, options, lambda: self._ended(container))

    async def execute(self, request: web.Request) -> web.StreamResponse:
        """Run a command in a container."""
        wanted, command = parse_wanted(request.query), tuple(request.query.getall("command", ()))
        if not command:
            raise HttpError(400, "you must specify at least one command for the container")
        container = self._running(request)

        async def start() -> ExecStream:
            return await self._runtime.open_exec(
                container.id, command, stdin=wanted.stdin, terminal=wanted.terminal
            )

        failed = "error executing command in container"
        lasts = wanted.stdin and not wanted.terminal
        return await self._serve(request, wanted, start, failed, lasts=lasts)

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """Attach to a container's own streams, from now on."""
        wanted, container = parse_wanted(request.query), self._running(request)

        async def start() -> ExecStream:
            return await self._runtime.open_attach(container.id, stdin=wanted.stdin)

        return await self._serve(request, wanted, start, "error attaching to container")

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Carry connections to ports of a Pod."""
        ports = forward.parse_ports(request.query.getall("port", []))
        dialer = partial(dial, await self._namespace(self._pod(request)))
        return await forward.serve(request, dialer, ports, self._limits)

    async def _namespace(self, pod: Pod) -> str:
        """Return the path of a Pod's network namespace, or "" for the node's; raises HttpError."""
        ready = [
            sandbox
            for sandbox in self._runtime.observe().sandboxes
            if sandbox.pod.uid == pod.metadata.uid and sandbox.ready
        ]
        if not ready:
            raise HttpError(400, f'pod "{pod.metadata.name}" has no network: it does not run now')
        if ready[-1].host_network:
            return ""
        try:
            return await self._runtime.network_namespace(ready[-1].id)
        except ContainerRuntimeError as err:
            raise HttpError(500, str(err)) from err

    async def _serve(
        self,
        request: web.Request,
        wanted: Wanted,
        start: Start,
        failed: str,
        *,
        lasts: bool = False,
    ) -> web.StreamResponse:
        """Serve a session; ``failed`` introduces the error of one that cannot start.

        If it ``lasts``, its command may use up its input after the client has left.
        """

        async def begin() -> ExecStream:
            try:
                return await start()
            except ContainerRuntimeError as err:
                raise ContainerRuntimeError(f"{failed}: {err}") from err

        limits = self._limits if lasts else replace(self._limits, finishing=0.0)
        return await session.serve(request, wanted, begin, limits)

    def _running(self, request: web.Request) -> Container:
        name = request.match_info["container"]
        return lookup.running(self._pod(request), name, self._containers())

    def _pod(self, request: web.Request) -> Pod:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        pod = self._pods.get(namespace, name)
        uid = request.match_info.get("uid")
        if pod is None or uid not in (None, pod.metadata.uid):
            raise HttpError(404, f'pod "{name}" does not exist on this node')
        return pod

    def _containers(self) -> tuple[Container, ...]:
        return self._runtime.observe().containers

    def _ended(self, container: Container) -> bool:
        now = next((known for known in self._containers() if known.id == container.id), None)
        return now is None or now.phase is Phase.EXITED
