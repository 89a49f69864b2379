"""An API server as far as a proxy sees one: lists, watches, a bearer token, and bad days.

It runs in a worker: ``start``, ``stop`` (connections break), ``put``, ``remove``, ``repeat``
(watchers are sent old events once more, out of order), ``expire`` (watchers are told 410 Gone),
``drip`` (watches are slow).
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine, Mapping
from itertools import count
from typing import Any

from aiohttp import web

FIRST = 100  # the version before the first object's
TOKEN = "not-a-secret"
PATHS = {
    "Service": "/api/v1/services",
    "Node": "/api/v1/nodes",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
}


class FakeApi:
    """The objects, their history, and the watchers."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.version = FIRST
        self.oldest = 0
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, str, str, dict[str, Any]]] = []
        self.changed = asyncio.Event()
        self.runner: web.AppRunner | None = None
        self.expiring = 0
        self.events: list[dict[str, Any]] = []
        self.serving = False
        self.pages: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self.tokens = count(1)

    async def start(self) -> None:
        self.serving = True
        app = web.Application()
        for kind, path in PATHS.items():
            app.router.add_get(path, self._handler(kind))
        app.router.add_post("/api/v1/namespaces/{namespace}/events", self._event)
        app.router.add_patch("/api/v1/namespaces/{namespace}/events/{name}", self._event)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self.runner.setup()
        await web.TCPSite(self.runner, *self.address, reuse_address=True).start()

    async def stop(self) -> None:
        self.serving = False
        self._wake()
        if self.runner is not None:
            await self.runner.cleanup()

    def record(self, verb: str, kind: str, wire: dict[str, Any]) -> None:
        self.version += 1
        meta = wire["metadata"] | {"resourceVersion": str(self.version)}
        wire = wire | {"metadata": meta}
        key = (kind, meta.get("namespace", ""), meta["name"])
        if verb == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = wire
        self.history.append((self.version, verb, kind, wire))
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _handler(self, kind: str):
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return web.json_response({"kind": "Status", "code": 401}, status=401)
            if request.query.get("watch"):
                return await self._watch(kind, request)
            return self._list(kind, request.query)

        return handle

    def _list(self, kind: str, query: Mapping[str, str]) -> web.Response:
        """Return a page of the collection as it was when its first page was read."""
        everything = [wire for (one, *_), wire in self.objects.items() if one == kind]
        version, items = self.pages.pop(query.get("continue", ""), (self.version, everything))
        limit = int(query.get("limit", 0)) or len(items)
        meta = {"resourceVersion": str(version)}
        if rest := items[limit:]:
            meta["continue"] = f"{kind}-{next(self.tokens)}"
            self.pages[meta["continue"]] = (version, rest)
        return web.json_response({"kind": f"{kind}List", "metadata": meta, "items": items[:limit]})

    async def _event(self, request: web.Request) -> web.Response:
        wire = await request.json()
        meta = wire.get("metadata", {}) | {"resourceVersion": "1"}
        self.events.append(wire | {"metadata": meta, "reason": wire.get("reason", "again")})
        return web.json_response(self.events[-1] | {"kind": "Event", "apiVersion": "v1"})

    async def _watch(self, kind: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen, expiring = int(request.query["resourceVersion"]), self.expiring
        while self.serving:
            changed, version = self.changed, self.version
            for _, verb, one, wire in self.history[max(seen - FIRST, 0) :]:
                if one == kind:
                    await _send(response, verb, wire)
            seen = max(seen, version)
            if self.expiring != expiring or seen < self.oldest:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                await _send(response, "ERROR", gone)
                return response
            await changed.wait()
        return response


_DRIP = 40  # bytes
_slow: list[float] = [0.0]


async def _send(response: web.StreamResponse, verb: str, wire: dict[str, Any]) -> None:
    data = json.dumps({"type": verb, "object": wire}).encode() + b"\n"
    size = _DRIP if _slow[0] else len(data)
    with contextlib.suppress(ConnectionResetError):  # who watched is gone
        for start in range(0, len(data), size):
            await response.write(data[start : start + size])
            await asyncio.sleep(_slow[0])


_loop = asyncio.new_event_loop()
_api: list[FakeApi] = []


def start(host: str, port: int) -> None:
    """Start to serve. The objects of an earlier start are still there."""
    if not _api:
        threading.Thread(target=_loop.run_forever, daemon=True).start()
        _api.append(FakeApi(host, port))
    _run(_api[0].start())


def stop() -> None:
    """Close every connection and accept no more."""
    _run(_api[0].stop())


def put(*wires: dict[str, Any]) -> None:
    """Create or replace objects."""
    for wire in wires:
        _run(_do(lambda wire=wire: _api[0].record("MODIFIED", wire["kind"], wire)))


def events() -> list[dict[str, Any]]:
    """Return the Events that were written."""
    return list(_api[0].events)


def remove(*wires: dict[str, Any]) -> None:
    """Delete objects."""
    for wire in wires:
        _run(_do(lambda wire=wire: _api[0].record("DELETED", wire["kind"], wire)))


def repeat() -> None:
    """Send every live object again, newest first, as if each had changed."""
    for wire in reversed(list(_api[0].objects.values())):
        put(wire)


def drip(seconds: float) -> None:
    """Send watches a few bytes at a time with a pause of ``seconds``; 0 sends them whole."""
    _slow[0] = seconds


def expire() -> None:
    """Tell every watcher that its version is gone."""

    def gone() -> None:
        _api[0].expiring += 1
        _api[0]._wake()

    _run(_do(gone))


async def _do(action) -> None:
    action()


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run_coroutine_threadsafe(work, _loop).result(timeout=60)
