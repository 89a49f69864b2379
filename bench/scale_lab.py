"""One lab of hollow nodes, measured: until all Pods are Ready, at rest, and until all are gone."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from bench.scale_requests import counted, for_each
from bench.versus import THIS
from control.api.times import seconds_of
from control.client.kubeconfig import load
from control.client.transport import tls_context
from lab.state import lab_dir
from lab.status import look

_TICK = os.sysconf("SC_CLK_TCK")
_EACH = 500  # Pods of a Deployment
_PATIENCE, _POLL, _REST = 900.0, 1.0, 20.0
_DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
_PODS = "/api/v1/namespaces/default/pods"
_BINDING = "POST pods/binding"


@dataclass(frozen=True, slots=True)
class Used:
    """What the processes of one part have: seconds of a processor, bytes of memory (PSS)."""

    processor: float
    memory: int


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured of one size; seconds are from the first Deployment's request."""

    nodes: int
    pods: int
    up: float  # seconds of ``lab up``
    scheduled: float
    ready: float
    gone: float  # seconds from the request to delete
    idle: dict[str, Used]  # before the Pods
    bound: dict[str, Used]  # when all Pods have their nodes
    loaded: dict[str, Used]  # when all Pods are Ready
    rest: dict[str, float]  # processors in use by each part afterwards, with all Pods
    listing: float  # seconds to list all Pods
    requests: dict[str, float]  # for each Pod, until all are Ready

    @property
    def memory(self) -> int:
        """Bytes of all parts together, with all Pods."""
        return sum(each.memory for each in self.loaded.values())


class Api:
    """The lab's API server, asked as its user."""

    def __init__(self, kubeconfig: Path) -> None:
        config = load(kubeconfig)
        place = config.server.partition("://")[2]
        self._connection = HTTPSConnection(place, context=tls_context(config), timeout=120)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's object; raises SystemExit for a refusal."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._text(method, path, data))

    def requests(self) -> Counter[str]:
        """Return how many requests the server has answered."""
        return counted(self._text("GET", "/metrics").decode())

    def _text(self, method: str, path: str, data: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if data else {}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"bin/bench scale: {method} {path}: {answer.status} {text[:300]!r}")
        return text


def measure(nodes: int, each: int, options: Sequence[str], say: Callable[[str], None]) -> Size:
    """Make a lab of hollow nodes, give each its number of Pods, and measure."""
    name = f"bench{os.getpid()}"
    with _lab(name, nodes, options) as took:
        api, pods = Api(lab_dir(name).kubeconfig), nodes * each
        time.sleep(5)
        idle, asked, began = _used(name), api.requests(), time.time()
        counts = [min(_EACH, pods - first) for first in range(0, pods, _EACH)]
        for number, count in enumerate(counts):
            api.ask("POST", _DEPLOYMENTS, _deployment(f"load-{number}", count))
        _wait(lambda: api.requests()[_BINDING] - asked[_BINDING], pods, say)
        bound = _used(name)
        _wait(lambda: _ready(api), pods, say)
        loaded, requests = _used(name), for_each(asked, api.requests(), pods)
        before = time.monotonic()
        found = api.ask("GET", _PODS)["items"]
        listing = time.monotonic() - before
        rest = _rest(name)
        before = time.monotonic()
        api.ask("DELETE", _DEPLOYMENTS)
        _wait(lambda: pods - _left(api), pods, say)
        gone = time.monotonic() - before
    scheduled, ready = (_last(found, kind) - began for kind in ("PodScheduled", "Ready"))
    times = (took, scheduled, ready, gone)
    return Size(nodes, pods, *times, idle, bound, loaded, rest, listing, requests)


@contextmanager
def _lab(name: str, nodes: int, options: Sequence[str]) -> Iterator[float]:
    began = time.monotonic()
    _podwire("up", f"--name={name}", "--nodes=1", f"--hollow={nodes}", "--no-demo", *options)
    try:
        yield time.monotonic() - began
    finally:
        _podwire("down", f"--name={name}")


def _podwire(*words: str) -> None:
    argv = [*THIS.podwire, "lab", *words]
    subprocess.run(argv, env=THIS.environment, stdout=subprocess.DEVNULL, check=True)


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    key = "podwire.io/hollow"
    spec = {
        "containers": [{"name": "main", "image": "podwire/tools"}],
        "nodeSelector": {key: "true"},
        "tolerations": [{"key": key, "operator": "Exists"}],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def _ready(api: Api) -> int:
    items = api.ask("GET", _DEPLOYMENTS)["items"]
    return sum(item["status"].get("readyReplicas", 0) for item in items)


def _left(api: Api) -> int:
    found = api.ask("GET", f"{_PODS}?limit=1")
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


def _wait(count: Callable[[], int], wanted: int, say: Callable[[str], None]) -> None:
    end = time.monotonic() + _PATIENCE
    while (have := count()) < wanted:
        say(f"{have} of {wanted} Pods")
        if time.monotonic() > end:
            raise SystemExit(f"bin/bench scale: {have} of {wanted} Pods after {_PATIENCE:.0f} s")
        time.sleep(_POLL)


def _last(pods: Sequence[Any], kind: str) -> float:
    """Return when the last Pod got a condition, as its object says, to the second."""
    found = [it for pod in pods for it in pod["status"]["conditions"] if it["type"] == kind]
    return max(seconds_of(it["lastTransitionTime"]) or 0.0 for it in found)


def _rest(name: str) -> dict[str, float]:
    time.sleep(5)
    before = _used(name)
    time.sleep(_REST)
    after = _used(name)
    return {it: (after[it].processor - before[it].processor) / _REST for it in before}


def _used(name: str) -> dict[str, Used]:
    """Return what each part of a lab has used, those of one name together."""
    children = _children()
    found: dict[str, Used] = {}
    for machine in look(lab_dir(name)).machines:
        for part in machine.components:
            processes = _below(part.pid, children) if part.pid else []
            have = found.get(part.name, Used(0, 0))
            found[part.name] = Used(
                have.processor + sum(map(_processor, processes)),
                have.memory + sum(map(_memory, processes)),
            )
    return found


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        found.setdefault(parent, []).append(int(entry.parent.name))
    return found


def _below(pid: int, children: dict[int, list[int]]) -> list[int]:
    return [pid, *(it for child in children.get(pid, ()) for it in _below(child, children))]


def _processor(pid: int) -> float:
    """Return the seconds of a process, and of its ended children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(it.split()[1]) * 1024 for it in lines if it.startswith("Pss:")), 0)


def progress(text: str) -> None:
    """Show how far it is, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
