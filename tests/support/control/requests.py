"""Requests to an API server in one line each, and small objects to send."""

import io
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from control.server.state.server import ServerState

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
CORE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


@dataclass(frozen=True)
class Reply:
    """A response: code, JSON and warnings."""

    code: int
    body: Any
    warnings: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.body[key]


class Api:
    """Requests to a server under test."""

    def __init__(self, session: aiohttp.ClientSession, state: ServerState) -> None:
        self.session = session
        self.state = state

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = "application/json",
        **headers: str,
    ) -> Reply:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        data = raw and io.BytesIO(raw)  # aiohttp warns of large bytes
        given = {"Content-Type": media} | headers
        async with self.session.request(method, path, data=data, headers=given) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            warnings = tuple(answer.headers.getall("Warning", []))
            return Reply(answer.status, json.loads(raw) if is_json else raw.decode(), warnings)

    async def make(self, path: str, body: Any) -> dict[str, Any]:
        """Create an object, and check the code 201."""
        reply = await self("POST", path, body)
        assert reply.code == 201, reply
        return dict(reply.body)


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
