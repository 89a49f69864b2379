"""How long reads of very many objects keep another client waiting.

A store with that many Pods, then each way to list them, three times each.
"""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hostile.asker import client
from bench.hostile.server import asking
from control.store.base import Create
from control.store.sqlite.store import SqliteStore

_TIMES = 3
_TOGETHER = 1000  # commits that are made at a time
_ANSWER_SECONDS = 120.0
_PODS = "/api/v1/pods"
_NAMESPACED = "/api/v1/namespaces/default/pods"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_BARE = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_NONE = "labelSelector=app%3Dnone"
_LABELS = {"app": "web", "pod-template-hash": "75d5594766"}


@dataclass(frozen=True, slots=True)
class Read:
    """A request for many objects."""

    name: str
    path: str
    accept: str = "application/json"
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Result:
    """What one request cost."""

    name: str
    seconds: float
    size: int  # bytes of the answer
    wait: float  # the longest of the other client, in seconds


def pod(number: int) -> dict[str, Any]:
    """Return a Pod as the server stores one."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": f"web-{number:06}",
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "creationTimestamp": "2026-11-01T00:00:00Z",
            "labels": _LABELS | {"number": str(number)},
        },
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1",
                    "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
            "nodeName": f"node{number % 1000}",
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "serviceAccountName": "default",
        },
        "status": {
            "phase": "Running",
            "podIP": "10.244.0.2",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "web", "ready": True, "restartCount": 0}],
        },
    }


def fill(path: Path, count: int) -> None:
    """Make a store with Pods, each of a revision of its own."""

    async def write() -> None:
        store = await SqliteStore.open(path, synchronous="NORMAL")
        for start in range(0, count, _TOGETHER):
            numbers = range(start, min(count, start + _TOGETHER))
            await asyncio.gather(*(store.commit(_create(number)) for number in numbers))
        await store.close()

    asyncio.run(write())


def _create(number: int) -> Create:
    key = f"/registry/core/pods/default/web-{number:06}"
    return Create(key, json.dumps(pod(number), separators=(",", ":")).encode())


def reads(revision: int) -> Iterator[Read]:
    """Yield each way to read all Pods; ``revision`` is an exact one."""
    exact = f"resourceVersion={revision}&resourceVersionMatch=Exact"
    yield Read("list", _PODS)
    yield Read("Table", _PODS, _TABLE)
    yield Read("Table with whole objects", f"{_PODS}?includeObject=Object", _TABLE)
    yield Read("metadata", _PODS, _BARE)
    yield Read("label selector, all match", f"{_PODS}?labelSelector=app%3Dweb")
    yield Read("label selector, none matches", f"{_PODS}?{_NONE}")
    yield Read("field selector", f"{_PODS}?fieldSelector=spec.nodeName%3Dnode7")
    yield Read("field selector of a name", f"{_PODS}?fieldSelector=metadata.name%3Dweb-000007")
    yield Read("limit=500", f"{_PODS}?limit=500")
    yield Read("limit=1, none matches", f"{_PODS}?limit=1&{_NONE}")
    yield Read("exact revision", f"{_PODS}?{exact}")
    yield Read("exact revision, limit=1", f"{_PODS}?limit=1&{exact}")
    yield Read("exact revision, limit=1, none matches", f"{_PODS}?limit=1&{_NONE}&{exact}")
    watch = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
    yield Read("watch with initial events", f"{_PODS}?{watch}&timeoutSeconds=4")
    yield Read("deletecollection, none matches", f"{_NAMESPACED}?{_NONE}", method="DELETE")


def measure(port: int, folder: Path) -> list[Result]:
    """Read in each way, three times; returns the worst of each."""
    connection = client(port, folder)
    connection.timeout = _ANSWER_SECONDS
    _, body = ask(connection, Read("", f"{_PODS}?limit=1"))
    revision = int(json.loads(body)["metadata"]["resourceVersion"])
    return [
        max((once(connection, port, folder, read) for _ in range(_TIMES)), key=lambda it: it.wait)
        for read in reads(revision)
    ]


def once(connection: http.client.HTTPSConnection, port: int, folder: Path, read: Read) -> Result:
    """Read once, beside the other client."""
    with asking(port, folder) as waits:
        time.sleep(0.5)
        begin = time.monotonic()
        code, body = ask(connection, read)
        end = time.monotonic()
        time.sleep(0.2)
    if code != 200:
        raise SystemExit(f"bin/bench: {read.method} {read.path}: {code} {body[:300]!r}")
    during = [wait for asked, wait in waits if asked < end and asked + wait > begin]
    return Result(read.name, end - begin, len(body), max(during, default=0.0))


def ask(connection: http.client.HTTPSConnection, read: Read) -> tuple[int, bytes]:
    """Return the answer's code and body."""
    connection.request(read.method, read.path, headers={"Accept": read.accept})
    answer = connection.getresponse()
    return answer.status, answer.read()


def show(results: list[Result], count: int) -> None:
    """Print a table in Markdown."""
    print(f"| read of {count:,} Pods | takes | answer | worst wait of another client |")
    print("|---|---|---|---|")
    for it in results:
        size = f"{it.size / 1e6:.1f} MB"
        print(f"| {it.name} | {it.seconds:.2f} s | {size} | {1000 * it.wait:.0f} ms |")
