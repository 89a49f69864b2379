"""What the tests of the API server share: requests in one line, and kubectl over TLS."""

import asyncio
import json
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.pki import Identity, create_authority, issue, kubeconfig
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.cli import server_tls
from control.server.state.world import Config, World
from control.store.memory import MemoryStore
from tests.support.control.api_server import ApiServer

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
CORE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


@dataclass(frozen=True)
class Reply:
    """An answer: its code, its JSON, its warnings."""

    code: int
    body: Any
    warnings: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.body[key]


class Api:
    """Requests to a server under test."""

    def __init__(self, session: aiohttp.ClientSession, world: World) -> None:
        self.session = session
        self.world = world

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = "application/json",
        **headers: str,
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Content-Type": media} | headers
        async with self.session.request(method, path, data=data, headers=given) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            warnings = tuple(answer.headers.getall("Warning", []))
            return Reply(answer.status, json.loads(raw) if is_json else raw.decode(), warnings)

    async def make(self, path: str, body: Any) -> dict[str, Any]:
        """Create, and be sure of it."""
        reply = await self("POST", path, body)
        assert reply.code == 201, reply
        return dict(reply.body)


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(api_server.url) as session:
        yield Api(session, api_server.world)


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "busybox:1"}]
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": containers} | spec,
    }


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]} | spec}


def deployment(name: str = "d", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True)
class Secured:
    """A server over TLS, its certificates, and a kubeconfig of its admin."""

    url: str
    port: int
    world: World
    folder: Path
    kubeconfig: Path

    def client_tls(self, user: str = "admin") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if user:
            context.load_cert_chain(self.folder / f"{user}.crt", self.folder / f"{user}.key")
        return context


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority = create_authority("test")
    authority.save(tmp_path, "ca")
    issue(authority, Identity("server", hosts=("127.0.0.1",))).save(tmp_path, "server")
    admin = issue(authority, Identity("admin", ("system:masters",)))
    admin.save(tmp_path, "admin")
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    config = tmp_path / "kubeconfig"
    config.write_text(
        kubeconfig("test", f"https://127.0.0.1:{port}", authority.certificate, "admin", admin)
    )
    tls = server_tls(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    store = MemoryStore()
    async with serve(
        store, [bound], tls=tls, config=Config(port=port), authenticator=Authenticator()
    ) as world:
        yield Secured(f"https://127.0.0.1:{port}", port, world, tmp_path, config)
    await store.close()


@dataclass(frozen=True)
class Output:
    """What kubectl said."""

    code: int
    out: str
    err: str


class Kubectl:
    """The real kubectl, on a server under test."""

    def __init__(self, server: Secured, program: str) -> None:
        self._arguments = [
            program,
            f"--kubeconfig={server.kubeconfig}",
            f"--cache-dir={server.folder / 'cache'}",
        ]

    async def try_(self, *arguments: str, stdin: str = "") -> Output:
        process = await self.start(*arguments)
        out, err = await process.communicate(stdin.encode())
        return Output(process.returncode or 0, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What it prints; it must succeed, and say nothing on stderr."""
        done = await self.try_(*arguments, stdin=stdin)
        assert (done.code, done.err) == (0, ""), (arguments, done)
        return done.out

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._arguments, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
        )


@pytest.fixture
def kubectl(secured: Secured) -> Kubectl:
    program = shutil.which("kubectl")
    assert program, "there is no kubectl: bin/setup fetches one"
    return Kubectl(secured, program)
