"""A webhook server: it answers each path by a function of the question, and keeps the questions."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from control.pki import Identity, create_authority, issue

Wire = dict[str, Any]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
VALIDATING = f"{ADMISSION}/validatingwebhookconfigurations"
MUTATING = f"{ADMISSION}/mutatingwebhookconfigurations"


def allow(_: Wire) -> Wire:
    return {"allowed": True}


def deny(message: str = "no", **status: Any) -> Callable[[Wire], Wire]:
    return lambda _: {"allowed": False, "status": {"message": message} | status}


def patching(*operations: Wire) -> Callable[[Wire], Wire]:
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": text}


@dataclass
class Webhooks:
    """The server; ``asked`` has each path's requests. A path that is not known allows all."""

    url: str = ""
    port: int = 0
    bundle: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, list[Wire]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    hangs: asyncio.Event = field(default_factory=asyncio.Event)  # one is asked that hangs
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        review = json.loads(await request.read())
        path = request.path
        self.asked.setdefault(path, []).append(review["request"])
        self.order.append(path)
        given = self.answers.get(path, allow)
        if given == "hang":
            self.hangs.set()
            await self.release.wait()
            given = allow
        if isinstance(given, web.Response):
            return web.Response(body=given.body, status=given.status)
        response = given(review["request"])
        if "kind" in response:
            return web.json_response(response)
        head = {"kind": review["kind"], "apiVersion": review["apiVersion"]}
        uid = {"uid": review["request"]["uid"]}
        return web.json_response(head | {"response": uid | response})

    def hook(self, path: str, **given: Any) -> Wire:
        """Return a webhook on new and changed ConfigMaps."""
        rule = {
            "operations": ["CREATE", "UPDATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["configmaps"],
        }
        made = {
            "name": f"{path.strip('/')}.example.com",
            "clientConfig": {"url": f"{self.url}{path}", "caBundle": self.bundle},
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return made | given

    def configuration(self, name: str, *hooks: Wire) -> Wire:
        return {"metadata": {"name": name}, "webhooks": list(hooks)}


@asynccontextmanager
async def webhook_server(folder: Path, hosts: tuple[str, ...] = ()) -> AsyncIterator[Webhooks]:
    """Serve on a free port of the loopback address."""
    authority = create_authority("webhook-ca")
    issue(authority, Identity("webhook", hosts=("127.0.0.1", *hosts))).save(folder, "webhook")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")
    made = Webhooks(bundle=base64.b64encode(authority.certificate).decode())
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("POST", "/{path:.*}", made.answer)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=tls)
    made.port = server.port or 0
    made.url = f"https://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        made.release.set()
        await server.close()
