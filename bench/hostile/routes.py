"""Where hostile bodies are sent: every way of writing, and every content type that it reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.hostile.bodies import (
    APPLY,
    JSON,
    JSON_PATCH,
    MERGE,
    PROTOBUF,
    STRATEGIC,
    YAML,
    mutated,
    of_media,
)

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
_AUTHORIZATION = "/apis/authorization.k8s.io/v1"
_REVIEWS = (
    f"{_AUTHORIZATION}/subjectaccessreviews",
    f"{_AUTHORIZATION}/selfsubjectaccessreviews",
    f"{_AUTHORIZATION}/selfsubjectrulesreviews",
    f"{_AUTHORIZATION}/namespaces/default/localsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    "/apis/authentication.k8s.io/v1/tokenreviews",
)
_FORCED = "?fieldManager=bench&force=true"  # what an apply has to say
_PATCHES = (MERGE, STRATEGIC, JSON_PATCH, APPLY)
_STATUSES = (f"{CORE}/pods/a", f"{CORE}/services/a", f"{APPS}/deployments/a", "/api/v1/nodes/a")
# Subresources that are made by POST.
_POSTED = (
    f"{CORE}/pods/a/binding",
    f"{CORE}/bindings",
    f"{CORE}/pods/a/eviction",
    f"{CORE}/serviceaccounts/default/token",
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
        yield from _written(f"{path}/a")
        for media in (JSON, YAML):
            yield "POST", path, media
    for path in (f"{CORE}/pods", f"{CORE}/configmaps"):
        yield "POST", path, PROTOBUF
        yield "PUT", f"{path}/a", PROTOBUF
    for path in _STATUSES:
        yield from _written(f"{path}/status")
    yield from _written(f"{APPS}/deployments/a/scale")
    yield from _written(f"{CORE}/pods/a/ephemeralcontainers")
    for media in (JSON, YAML):
        for path in (*_POSTED, *_REVIEWS):
            yield "POST", path, media
        yield "PUT", "/api/v1/namespaces/default/finalize", media
        yield "DELETE", f"{CORE}/configmaps/none", media
        yield "DELETE", f"{CORE}/configmaps", media
    yield "POST", f"{CORE}/configmaps", "text/plain"
    yield "GET", f"{CORE}/configmaps", JSON


def _written(path: str) -> Iterator[tuple[str, str, str]]:
    for media in (JSON, YAML):
        yield "PUT", path, media
    for media in _PATCHES:
        yield "PATCH", path + _FORCED * (media == APPLY), media


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
    ways = (("POST", "", JSON), ("PUT", "/a", JSON), ("PUT", "/a", YAML))
    patches = tuple(
        ("PATCH", f"/a{_FORCED * (media == APPLY)}", media) for media in (MERGE, STRATEGIC, APPLY)
    )
    path = [*OBJECTS][number // 6 % len(OBJECTS)]
    method, name, media = (*ways, *patches)[number % 6]
    return method, path + name, media


def objects() -> Iterator[Hostile]:
    """Yield the requests that make one object of each kind."""
    for path, wire in OBJECTS.items():
        yield Hostile("POST", path, JSON, "an object", json.dumps(named(wire)).encode())
