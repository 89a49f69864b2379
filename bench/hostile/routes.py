"""Where hostile bodies are sent: every way of writing, and every content type that it reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.hostile.bodies import JSON, JSON_PATCH, MERGE, PROTOBUF, STRATEGIC, mutated, of_media

CORE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_LABELS = {"app": "a"}
_POD_SPEC = {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]}
_TEMPLATE = {"metadata": {"labels": _LABELS}, "spec": _POD_SPEC}
_WORKLOAD = {"selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}
_RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
# Collections, and a small valid object in each.
OBJECTS: dict[str, dict[str, Any]] = {
    f"{CORE}/configmaps": {"data": {"k": "v"}},
    f"{CORE}/secrets": {"data": {"k": "dg=="}},
    f"{CORE}/pods": {"spec": _POD_SPEC},
    f"{CORE}/services": {"spec": {"ports": [{"port": 80}], "selector": _LABELS}},
    f"{CORE}/endpoints": {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": []}]},
    f"{APPS}/deployments": {"spec": _WORKLOAD | {"replicas": 1}},
    f"{APPS}/daemonsets": {"spec": _WORKLOAD},
    "/api/v1/nodes": {"spec": {"podCIDR": "10.1.0.0/24"}},
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"port": 80}],
    },
    f"{_RBAC}/clusterroles": {"rules": [_RULE]},
}
_REVIEWS = (
    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/tokenreviews",
)


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    method: str
    path: str
    media: str
    name: str  # of its body
    body: bytes


def named(wire: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """Return an object with metadata."""
    return {"metadata": {"name": name}} | wire


def routes() -> Iterator[tuple[str, str, str]]:
    """Yield method, path and content type."""
    for path in OBJECTS:
        yield "POST", path, JSON
        yield "PUT", f"{path}/a", JSON
        for media in (MERGE, STRATEGIC, JSON_PATCH):
            yield "PATCH", f"{path}/a", media
    for path in (f"{CORE}/pods", f"{CORE}/configmaps"):
        yield "POST", path, PROTOBUF
        yield "PUT", f"{path}/a", PROTOBUF
    yield "PUT", f"{CORE}/pods/a/status", JSON
    for media in (MERGE, STRATEGIC, JSON_PATCH):
        yield "PATCH", f"{CORE}/pods/a/status", media
        yield "PATCH", f"{APPS}/deployments/a/scale", media
    yield "PUT", f"{APPS}/deployments/a/scale", JSON
    for path in ("pods/a/binding", "bindings", "pods/a/eviction", "serviceaccounts/default/token"):
        yield "POST", f"{CORE}/{path}", JSON
    yield "PUT", "/api/v1/namespaces/default/finalize", JSON
    yield "DELETE", f"{CORE}/configmaps/none", JSON
    yield "DELETE", f"{CORE}/configmaps", JSON
    for path in _REVIEWS:
        yield "POST", path, JSON
    yield "POST", f"{CORE}/configmaps", "text/plain"
    yield "GET", f"{CORE}/configmaps", JSON


def requests(seed: int, corpus: int) -> Iterator[Hostile]:
    """Yield every body for every route, then ``corpus`` mutated ones."""
    for method, path, media in routes():
        for name, body in of_media(media).items():
            yield Hostile(method, path, media, name, body)
    bases = [named(wire) for wire in OBJECTS.values()]
    for number, body in enumerate(mutated(seed, corpus, bases)):
        method, path, media = _place(number)
        yield Hostile(method, path, media, f"mutation {number} of seed {seed}", body)


def _place(number: int) -> tuple[str, str, str]:
    """Return where a mutated object goes; all ways of writing in turns."""
    path = [*OBJECTS][number // 4 % len(OBJECTS)]
    ways = (("POST", "", JSON), ("PUT", "/a", JSON), ("PATCH", "/a", MERGE))
    method, name, media = (*ways, ("PATCH", "/a", STRATEGIC))[number % 4]
    return method, path + name, media


def objects() -> Iterator[Hostile]:
    """Yield the requests that make one object of each kind."""
    for path, wire in OBJECTS.items():
        yield Hostile("POST", path, JSON, "an object", json.dumps(named(wire)).encode())
