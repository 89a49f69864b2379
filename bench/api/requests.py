"""What is asked of the servers: a scenario is a batch of requests of one verb."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.api.server import Cost, RefusedError, Target

READ, WRITE = 1.1, 1.4  # the most that this checkout may cost, as a share of what the other costs
_BATCH = 25
_WATCHERS = 40
_PODS = "/api/v1/namespaces/default/pods"
_SETS = "/apis/apps/v1/namespaces/default/deployments"
_MERGE, _STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_STATUS = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [
        {"name": "c", "ready": True, "restartCount": 0, "image": "x", "imageID": "y"}
    ],
}

Run = Callable[[Target, int], Cost]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A batch, the number of its requests, and the limit of its share."""

    name: str
    limit: float
    count: int
    run: Run


def pod(name: str) -> dict[str, Any]:
    """Return a Pod of a usual size."""
    container = {
        "name": "c",
        "image": "busybox:1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "b"}, {"name": "B", "value": "c"}],
    }
    labels = {"app": "x", "v": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container]},
    }


def deployment(name: str) -> dict[str, Any]:
    """Return a Deployment of such Pods."""
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def fill(target: Target, number: int) -> None:
    """Make Pods, so that there is something to list."""
    for each in range(number):
        target.ask("POST", _PODS, json.dumps(pod(f"fill-{each}")).encode())


@contextmanager
def timed(target: Target, found: list[Cost]) -> Iterator[None]:
    """Add what the block costs."""
    wall, processor = time.perf_counter(), target.processor()
    yield
    found.append(Cost(time.perf_counter() - wall, target.processor() - processor))


def _sending(method: str, path: str, body: Callable[[int], Any], media: str = "") -> Run:
    """A batch of requests; path and body have the number of the object."""

    def run(target: Target, turn: int) -> Cost:
        numbers = range(turn * _BATCH, (turn + 1) * _BATCH)
        sent = [(path.format(n), json.dumps(body(n)).encode()) for n in numbers]
        found: list[Cost] = []
        with timed(target, found):
            for where, data in sent:
                target.ask(method, where, data, media)
        return found[0]

    return run


def _update(target: Target, turn: int) -> Cost:
    numbers = range(turn * _BATCH, (turn + 1) * _BATCH)
    objects = [(path := f"{_PODS}/p{n}", target.read(path)) for n in numbers]
    for _, each in objects:
        each["metadata"]["labels"]["v"] = "2"
    sent = [(path, json.dumps(each).encode()) for path, each in objects]
    found: list[Cost] = []
    with timed(target, found):
        for path, data in sent:
            target.ask("PUT", path, data)
    return found[0]


def _reading(path: str, times: int, accept: str = "application/json") -> Run:
    def run(target: Target, _turn: int) -> Cost:
        found: list[Cost] = []
        with timed(target, found):
            for _ in range(times):
                target.connection.request("GET", path, headers=target.headers | {"Accept": accept})
                answer = target.connection.getresponse()
                data = answer.read()
                if answer.status >= 300:
                    raise RefusedError(f"{target.name}: {path}: {answer.status} {data[:300]!r}")
        return found[0]

    return run


def _watch(target: Target, turn: int) -> Cost:
    """Let watchers see labels change; the cost includes these writes."""
    revision = target.read(f"{_PODS}?limit=1")["metadata"]["resourceVersion"]
    streams = [_watcher(target, revision) for _ in range(_WATCHERS)]
    patch = json.dumps({"metadata": {"labels": {"seen": f"t{turn}"}}}).encode()
    found: list[Cost] = []
    try:
        with timed(target, found):
            for number in range(_BATCH):
                target.ask("PATCH", f"{_PODS}/fill-{number}", patch, _MERGE)
            for _, answer in streams:
                for _ in range(_BATCH):
                    event = json.loads(answer.readline())
                    assert event["type"] == "MODIFIED", event
    finally:
        for connection, _ in streams:
            connection.close()
    return found[0]


def _watcher(
    target: Target, revision: str
) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    connection = target.connect()
    path = f"{_PODS}?watch=1&resourceVersion={revision}"
    connection.request("GET", path, headers=target.headers)
    return connection, connection.getresponse()


_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
SCENARIOS = (
    Scenario("create a Pod", WRITE, _BATCH, _sending("POST", _PODS, lambda n: pod(f"p{n}"))),
    Scenario("update a Pod", WRITE, _BATCH, _update),
    Scenario(
        "patch a Pod",
        WRITE,
        _BATCH,
        _sending(
            "PATCH", f"{_PODS}/p{{}}", lambda _: {"metadata": {"labels": {"v": "3"}}}, _STRATEGIC
        ),
    ),
    Scenario(
        "patch a Pod's status",
        WRITE,
        _BATCH,
        _sending("PATCH", f"{_PODS}/p{{}}/status", lambda _: {"status": _STATUS}, _STRATEGIC),
    ),
    Scenario(
        "create a Deployment",
        WRITE,
        _BATCH,
        _sending("POST", _SETS, lambda n: deployment(f"d{n}")),
    ),
    Scenario(
        "patch a Deployment",
        WRITE,
        _BATCH,
        _sending("PATCH", f"{_SETS}/d{{}}", lambda _: {"spec": {"replicas": 2}}, _MERGE),
    ),
    Scenario(
        "apply a Deployment",
        WRITE,
        _BATCH,
        _sending(
            "PATCH",
            f"{_SETS}/a{{}}?fieldManager=bench",
            lambda n: deployment(f"a{n}"),
            _APPLY,
        ),
    ),
    Scenario("get a Pod", READ, _BATCH * 4, _reading(f"{_PODS}/fill-0", _BATCH * 4)),
    Scenario("list Pods", READ, 4, _reading(_PODS, 4)),
    Scenario("list Pods by label", READ, 4, _reading(f"{_PODS}?labelSelector=v%3D3", 4)),
    Scenario("list Pods as a Table", READ, 2, _reading(_PODS, 2, _TABLE)),
    Scenario("an event of a Pod at 40 watchers", READ, _BATCH, _watch),
)
