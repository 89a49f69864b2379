"""The demo: deploys a Service, sends requests to its ClusterIP, and shows which Pods answer."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from control.api import kinds
from control.api.meta import Object
from control.api.pod import Pod
from control.api.service import EndpointSlice, Service
from control.api.workload import Deployment
from control.client import ApiError, Client
from lab.readiness import follow
from lab.report import Say
from lab.requests import NotReadyError

NAME = "hello"
NAMESPACE = "default"
PORT = 80
REQUESTS = 300
READY_SECONDS = 60
_BAR = 40  # columns of the longest bar
_BESIDE_BAR = 10  # columns of the number, and of the gaps
_PROBE = Path(__file__).with_name("probe.py")
_LABELS = {"app": NAME}


@dataclass(frozen=True, slots=True)
class Target:
    """The demo's ClusterIP, and the number of Pods behind it."""

    address: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Balance:
    """The number of answers of each Pod, each Pod's node, and the number of failures by cause."""

    address: str
    answers: Mapping[str, int]
    nodes: Mapping[str, str]
    failures: Mapping[str, int]


def manifests(replicas: int) -> tuple[Deployment, Service]:
    """Return the demo's objects; examples/web.yaml has the same in YAML."""
    container = {
        "name": "web",
        "image": "podwire/tools",
        "command": ["/bin/serve", "8080"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    template = {"metadata": {"labels": _LABELS}, "spec": {"containers": [container]}}
    deployment = _object(
        "apps/v1",
        "Deployment",
        {
            "replicas": replicas,
            "selector": {"matchLabels": _LABELS},
            "template": template,
        },
    )
    service = _object(
        "v1",
        "Service",
        {
            "selector": _LABELS,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    )
    return Deployment.parse(deployment), Service.parse(service)


def _object(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def deploy(kubeconfig: Path, replicas: int, say: Say) -> Target:
    """Apply the demo and wait until all its endpoints are ready.

    ``replicas`` is for a new Deployment; an existing one keeps its own number.
    Raises NotReadyError, ApiError, UnreachableError.
    """
    return asyncio.run(_deploy(kubeconfig, replicas, say))


async def _deploy(kubeconfig: Path, replicas: int, say: Say) -> Target:
    deployment, service = manifests(replicas)
    async with Client.from_kubeconfig(kubeconfig) as client:
        await _ensure(client, kinds.DEPLOYMENT, deployment)
        await _ensure(client, kinds.SERVICE, service)
        address = (await client.get(kinds.SERVICE, NAMESPACE, NAME)).spec.cluster_ip
        # The user may have scaled an existing Deployment.
        replicas = (await client.get(kinds.DEPLOYMENT, NAMESPACE, NAME)).spec.replicas or 0
    if not replicas:
        raise NotReadyError(
            f"deployment {NAME} is scaled to 0, so no Pod can answer; see: "
            f"kubectl scale deployment {NAME} --replicas 3"
        )

    def ready(slice_: EndpointSlice) -> bool:
        if slice_.metadata.labels.get("kubernetes.io/service-name") != NAME:
            return False
        count = sum(endpoint.conditions.ready is not False for endpoint in slice_.endpoints)
        say(f"demo: {count} of {replicas} replicas ready")
        return count >= replicas

    try:
        async with asyncio.timeout(READY_SECONDS):
            await follow(kubeconfig, kinds.ENDPOINT_SLICE, ready)
    except TimeoutError:
        raise NotReadyError(
            f"deployment {NAME} is not ready after {READY_SECONDS} s; see: "
            f"kubectl describe pods -l app={NAME}"
        ) from None
    assert address is not None  # noqa: S101  # the API server allocates one for every Service
    return Target(address, replicas)


async def _ensure(client: Client, kind: kinds.Kind[Any], wanted: Object) -> None:
    """Create an object, or keep an existing one: the demo may be run again."""
    try:
        await client.create(kind, wanted)
    except ApiError as err:
        if err.reason != "AlreadyExists":
            raise


def measure(kubeconfig: Path, target: Target, enter: list[str]) -> Balance:
    """Send requests to the Service from a machine; ``enter`` is the command line to enter it.

    Raises NotReadyError if the requests cannot be sent.
    """
    numbers = (str(number) for number in (PORT, REQUESTS, target.replicas))
    argv = [*enter, sys.executable, "-IS", str(_PROBE), target.address, *numbers]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReadyError(f"the demo's requests could not be sent: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    nodes = asyncio.run(_nodes(kubeconfig))
    return Balance(target.address, result["answers"], nodes, result["failures"])


async def _nodes(kubeconfig: Path) -> dict[str, str]:
    async with Client.from_kubeconfig(kubeconfig) as client:
        selector = ",".join(f"{key}={value}" for key, value in _LABELS.items())
        pods = await client.list(kinds.POD, NAMESPACE, label_selector=selector)
    return {_name(pod): _node(pod) for pod in pods.items}


def _name(item: Object) -> str:
    return item.metadata.name


def _node(pod: Pod) -> str:
    return pod.spec.node_name or ""


def show(console: Console, balance: Balance, source: str) -> None:
    """Draw the balance as bars."""
    host = f"[{balance.address}]" if ":" in balance.address else balance.address
    console.print(
        f"\n{REQUESTS} requests from {source} to the ClusterIP "
        f"[bold]http://{escape(host)}:{PORT}[/]:\n",
        highlight=False,
    )
    names, nodes = (_longest(each) for each in (balance.nodes, balance.nodes.values()))
    room = console.width - names - nodes - _BESIDE_BAR
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)  # the ends of names are what tells Pods apart
    most = max(balance.answers.values(), default=1)
    for pod, count in sorted(balance.answers.items()):
        bar = "█" * round(max(0, min(_BAR, room)) * count / most)
        node = balance.nodes.get(pod, "") if room >= 0 else ""
        table.add_row(pod, f"[dim]{node}[/]", f"[cyan]{bar}[/] {count}")
    for cause, count in balance.failures.items():
        table.add_row("[red]failed[/]", "", f"[red]{count}[/] {cause}")
    console.print(table, highlight=False)


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)
