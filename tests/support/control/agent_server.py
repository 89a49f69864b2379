"""The agent's server with one Pod on a test runtime, and clients for it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from control.agent.config import ServerConfig, StreamLimits
from control.agent.server.app import serve
from control.api.pod import Pod
from tests.support.control.streaming import Host, OneNode, PodTable, make_certificates


@dataclass
class Agent:
    url: str
    runtime: Host
    pod: Pod
    log: Path
    http: aiohttp.ClientSession

    @asynccontextmanager
    async def exec(
        self, *command: str, protocol: str = "v5.channel.k8s.io", **query: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        words = [("command", word) for word in command]
        query = query or {"output": "1", "error": "1"}
        url = f"{self.url}/exec/default/web/c"
        params = [*words, *query.items()]
        async with self.http.ws_connect(url, protocols=(protocol,), params=params) as socket:
            yield socket


def tls(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if name:
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


def session(folder: Path, name: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls(folder, name)))


@pytest.fixture
async def agent(tmp_path) -> AsyncIterator[Agent]:
    async with agent_with(tmp_path, StreamLimits()) as running:
        yield running


@asynccontextmanager
async def agent_with(tmp_path: Path, limits: StreamLimits) -> AsyncIterator[Agent]:
    make_certificates(tmp_path)
    files = (tmp_path / it for it in ("node.crt", "node.key", "ca.crt"))
    settings = ServerConfig("127.0.0.1", 0, *files, streams=limits)
    wire = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "c"}]},
    }
    pod = Pod.parse(wire)
    runtime = Host(tmp_path / "logs")
    node = OneNode(runtime, PodTable({pod.key: pod}))
    log = runtime.add(pod, "c")
    log.touch()
    async with (
        serve(settings, node) as port,
        session(tmp_path, "kube-apiserver-kubelet-client") as http,
    ):
        yield Agent(f"https://127.0.0.1:{port}", runtime, pod, log, http)
