"""An extension API server: it trusts a front proxy's certificate, and serves one group."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from control.api import kinds
from control.pki import Identity, Pair, create_authority, issue
from control.server.aggregation.discovery import AGGREGATED
from control.server.state.server import FrontProxy, ServerState
from control.server.wire.info import storage_key
from control.server.wire.item import encode_object
from control.store.base import Create, Delete

GROUP, VERSION = "wardle.example.com", "v1alpha1"
BASE = f"/apis/{GROUP}/{VERSION}"
RESOURCE = {
    "name": "flunders",
    "singularName": "flunder",
    "namespaced": True,
    "kind": "Flunder",
    "verbs": ["get", "list", "watch", "create"],
    "shortNames": ["fl"],
}
_ROW = {
    "resource": "flunders",
    "responseKind": {"group": GROUP, "version": VERSION, "kind": "Flunder"},
    "scope": "Namespaced",
    "singularResource": "flunder",
    "verbs": ["get", "list", "watch", "create"],
    "shortNames": ["fl"],
}
_SCHEMA = {
    "openapi": "3.0.0",
    "info": {"title": "wardle", "version": "v0"},
    "paths": {
        f"{BASE}/namespaces/{{namespace}}/flunders": {
            "get": {
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind": {
                    "group": GROUP,
                    "version": VERSION,
                    "kind": "Flunder",
                },
            }
        }
    },
    "components": {
        "schemas": {
            "com.example.Flunder": {
                "description": "A flunder is for tests.",
                "type": "object",
                "properties": {"spec": {"type": "string", "description": "What it is."}},
                "x-kubernetes-group-version-kind": [
                    {"group": GROUP, "version": VERSION, "kind": "Flunder"}
                ],
            }
        }
    },
}


@dataclass
class Certificates:
    """The authorities and certificates of a front proxy and of an extension server."""

    proxy: FrontProxy
    proxy_authority: Path
    server_authority: Pair
    server: ssl.SSLContext


def certificates(
    folder: Path, hosts: tuple[str, ...] = ("wardle.default.svc", "hanging.default.svc")
) -> Certificates:
    """Make everything in a folder."""
    authority = create_authority("front-proxy-ca")
    authority.save(folder, "front-proxy-ca")
    issue(authority, Identity("front-proxy-client")).save(folder, "front-proxy-client")
    serving = create_authority("wardle-ca")
    issue(serving, Identity("wardle", hosts=hosts)).save(folder, "wardle")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "wardle.crt", folder / "wardle.key")
    tls.load_verify_locations(folder / "front-proxy-ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    own = folder / "front-proxy-client.crt", folder / "front-proxy-client.key"
    authority_file = folder / "front-proxy-ca.crt"
    proxy = FrontProxy(own, authority_file, ("front-proxy-client",))
    return Certificates(proxy, authority_file, serving, tls)


def _flunder(name: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "uid": f"u-{name}", "resourceVersion": "1"}
    return {"kind": "Flunder", "apiVersion": f"{GROUP}/{VERSION}", "metadata": meta}


@dataclass
class Wardle:
    """The server; ``seen`` are the headers of the last request on a resource."""

    aggregated: bool = True
    hangs: bool = False  # in discovery
    answers: dict[str, Any] = field(default_factory=dict)  # instead, by path
    seen: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    raw_path: str = ""
    release: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    refused: int = 0  # requests without the front proxy's certificate

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", self._answer)
        return made

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peercert") if request.transport else None
        names = [value for rdn in (peer or {}).get("subject", ()) for _, value in rdn]
        if "front-proxy-client" not in names or not request.headers.get("X-Remote-User"):
            self.refused += 1
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if (given := self.answers.get(request.path)) is not None:
            if callable(given):
                return await given(request)  # type: ignore[no-any-return]
            return web.Response(body=given, content_type="application/json")
        return await self._discovery(request) or await self._resource(request)

    async def _discovery(self, request: web.Request) -> web.StreamResponse | None:
        if request.path in ("/apis", BASE) and self.hangs:
            await self.release.wait()
        if request.path == "/apis" and self.aggregated:
            versions = [{"version": VERSION, "resources": [_ROW], "freshness": "Current"}]
            document = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2",
                "items": [{"metadata": {"name": GROUP}, "versions": versions}],
            }
            media = AGGREGATED.format("v2")
            return web.Response(text=json.dumps(document), headers={"Content-Type": media})
        if request.path == "/apis":
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        if request.path == BASE:
            head = {"kind": "APIResourceList", "apiVersion": "v1"}
            return web.json_response(
                head | {"groupVersion": f"{GROUP}/{VERSION}", "resources": [RESOURCE]}
            )
        if request.path == "/openapi/v3":
            url = f"/openapi/v3{BASE}?hash=ABC123"
            return web.json_response({"paths": {BASE[1:]: {"serverRelativeURL": url}}})
        if request.path == f"/openapi/v3{BASE}":
            return web.json_response(_SCHEMA)
        return None

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        self.seen = {name: request.headers.getall(name) for name in dict.fromkeys(request.headers)}
        self.body, self.raw_path = await request.read(), request.raw_path
        if request.query.get("watch"):
            return await self._watch(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data.upper())
            return socket
        name = request.path.rpartition("/")[2]
        if name != "flunders":
            return web.json_response(_flunder(name), headers={"X-Own": "y"})
        items = [_flunder("a"), _flunder("b")]
        head = {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}}
        return web.json_response(head | {"items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for name in ("a", "b"):
            line = {"type": "ADDED", "object": _flunder(name)}
            await response.write(json.dumps(line).encode() + b"\n")
            await self.release.wait()
        return response


@asynccontextmanager
async def extension(found: Certificates, wardle: Wardle) -> AsyncIterator[Wardle]:
    """Serve on a free port of the loopback address."""
    server = TestServer(wardle.app(), scheme="https")
    await server.start_server(ssl=found.server)
    wardle.port = server.port or 0
    try:
        yield wardle
    finally:
        wardle.release.set()
        await server.close()


async def endpoints(state: ServerState, port: int, name: str = "wardle", **of: Any) -> None:
    """Store an endpoint of a Service on the loopback address, which no client could."""
    key = storage_key(kinds.ENDPOINT_SLICE, "default", f"{name}-1")
    await no_endpoints(state, name)
    labels = {"kubernetes.io/service-name": name}
    wire = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }
    await state.store.commit(Create(key, encode_object(wire | of)))
    await state.cache.fresh()


async def no_endpoints(state: ServerState, name: str = "wardle") -> None:
    """Remove it again."""
    key = storage_key(kinds.ENDPOINT_SLICE, "default", f"{name}-1")
    if old := state.cache.of(kinds.ENDPOINT_SLICE).get(key):
        await state.store.commit(Delete(key, old.revision))
        await state.cache.fresh()
