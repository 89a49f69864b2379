"""A node on which nothing is podwire's: Pods of the reference bridge plugin, kube-proxy's rules.

Beside the namespace it has what such a node has: libcni's cache, kube-proxy's pages, and an API to
which a kubeconfig leads.
"""

import asyncio
import json
import os
import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from click.testing import CliRunner

from control.api import kinds
from control.api.kind import Kind
from control.client import Client
from debug.doctor.cli import main as doctor
from debug.explain.cli import main as explain
from debug.places import Place, entered
from debug.trace.cli import main as trace
from tests.support.cni.worker import Worker
from tests.support.control.secured import secured_server
from tests.support.debug.kube_proxy import NODE, PODS, Port, iptables, nftables
from tests.support.space import Space

PLUGINS, CACHE = "/usr/lib/cni", Path("/var/lib/cni/results")
NAME = socket.gethostname().strip().lower()  # as kubelet names a Node
NETWORK: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "theirs",
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": True,
    "hairpinMode": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
COMMANDS = {"explain": explain, "trace": trace, "doctor": doctor}


class TheirNode:
    """The node, its world, two Pods of namespace ns1, and the Services ``web`` and ``none``."""

    def __init__(self, spaces: Callable[[str], Space], folder: Path, mode: str) -> None:
        self.space, self.world, self.mode = spaces("their"), spaces("world"), mode
        self.pods = {name: spaces(name) for name in ("shop", "web")}
        self._programs(folder)
        self.space.veth("eth0", self.world, "eth0")
        self.space.ip_batch(f"addr add {NODE}/24 dev eth0", "route add default via 172.30.0.1")
        self.world.ip_batch("addr add 172.30.0.1/24 dev eth0")
        self.space.sysctls({"net.ipv4.ip_forward": 1, "net.bridge.bridge-nf-call-iptables": 1})
        results = {name: self._attach(name, pod) for name, pod in self.pods.items()}
        self.addresses = {
            name: str(one["ips"][0]["address"]).partition("/")[0] for name, one in results.items()
        }
        self.links = {name: str(one["interfaces"][1]["name"]) for name, one in results.items()}
        ends = tuple(f"{address}:8080" for address in self.addresses.values())
        ports = (
            Port("default/kubernetes", "https", "10.96.0.1", 443, (f"{NODE}:6443",)),
            Port("ns1/web", "http", "10.96.0.9", 80, ends, 30080),
            Port("ns1/none", "http", "10.96.0.10", 80),
        )
        self._load(ports)
        self.worker = Worker(self.space)
        paths = [str(pod.path) for pod in self.pods.values()]
        self.kubeconfig = self.worker.call(live, folder, mode, paths, objects(self.addresses))

    def _programs(self, folder: Path) -> None:
        """Have the plugin find the iptables of the mode: a node uses one of them."""
        kind = "legacy" if self.mode == "iptables-legacy" else "nft"
        for name in ("iptables", "ip6tables", "iptables-save", "iptables-restore"):
            first, _, last = name.partition("-")
            real = f"/usr/sbin/{first}-{kind}" + (f"-{last}" if last else "")
            (folder / name).symlink_to(real)
        self._path = f"{folder}:{os.environ['PATH']}"

    def _attach(self, name: str, pod: Space) -> dict[str, Any]:
        """Have the plugin make a Pod's interface, and keep its result as libcni does."""
        config = json.dumps(NETWORK)
        args = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", "ns1"),
            ("K8S_POD_NAME", name),
            ("K8S_POD_INFRA_CONTAINER_ID", f"{name}-sandbox"),
        ]
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": f"{name}-sandbox",
            "CNI_NETNS": str(pod.path),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": PLUGINS,
            "CNI_ARGS": ";".join("=".join(pair) for pair in args),
            "PATH": self._path,
        }
        argv = self.space.argv(f"{PLUGINS}/bridge")
        done = subprocess.run(argv, input=config, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        result: dict[str, Any] = json.loads(done.stdout)
        cached = {
            "kind": "cniCacheV1",
            "containerId": env["CNI_CONTAINERID"],
            "config": b64encode(config.encode()).decode(),
            "ifName": "eth0",
            "networkName": NETWORK["name"],
            "netns": str(pod.path),
            "cniArgs": args,
            "result": result,
        }
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / f"theirs-{name}-sandbox-eth0").write_text(json.dumps(cached))
        return result

    def _load(self, ports: tuple[Port, ...]) -> None:
        if self.mode == "nftables":
            self.space.run("nft", "-f", "-", stdin=nftables(ports))
        else:
            self.space.run(f"{self.mode}-restore", "--noflush", stdin=iptables(ports))

    def run(self, command: str, *words: str, api: bool) -> tuple[int, Any]:
        """Run a command of podwire on the node; return its code, and what it printed as JSON."""
        where = ("--kubeconfig", self.kubeconfig) if api else ("--here",)
        code, text = self.worker.call(invoke, command, [*where, *words, "-o", "json"])
        try:
            return code, json.loads(text)
        except ValueError:
            return code, text

    def stop(self) -> None:
        """End what runs, and forget the Pods."""
        self.worker.stop()
        for path in CACHE.glob("theirs-*"):
            path.unlink()
        for path in Path("/var/lib/cni/networks/theirs").glob("*"):
            path.unlink()


def objects(addresses: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The objects that the API has, beside those of every cluster, each with its kind's plural."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]
    web = {"clusterIP": "10.96.0.9", "type": "NodePort", "selector": {"app": "web"}, "ports": ports}
    none = {"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]}
    return [
        ("namespaces", {"metadata": {"name": "ns1"}}),
        (
            "nodes",
            {
                "metadata": {"name": NAME},
                "spec": {"podCIDR": PODS, "podCIDRs": [PODS]},
                "status": {"addresses": [{"type": "InternalIP", "address": NODE}]},
            },
        ),
        *(("pods", _pod(name, address)) for name, address in addresses.items()),
        ("services", {"metadata": {"name": "web", "namespace": "ns1"}, "spec": web}),
        ("services", {"metadata": {"name": "none", "namespace": "ns1"}, "spec": none}),
        ("endpointslices", _slice("ns1", "web", "http", 8080, *addresses.values())),
        ("endpointslices", _slice("default", "kubernetes", "https", 6443, NODE)),
    ]


def _pod(name: str, address: str) -> dict[str, Any]:
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    container = {"name": "main", "image": "theirs", "ports": [{"containerPort": 8080}]}
    return {
        "metadata": {"name": name, "namespace": "ns1", "labels": {"app": "web"}},
        "spec": {"nodeName": NAME, "containers": [container]},
        "status": status,
    }


def _slice(namespace: str, of: str, port: str, number: int, *ends: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": of}
    return {
        "metadata": {"name": f"{of}-1", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": number, "protocol": "TCP"}],
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in ends],
    }


# What runs inside the node's network, in its worker.


class _Pages(BaseHTTPRequestHandler):
    """kube-proxy's pages."""

    mode: ClassVar[str] = ""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        config = {"clusterCIDR": PODS, "mode": self.mode, "iptables": {}, "nftables": {}}
        pages = {
            "/proxyMode": self.mode,
            "/configz": json.dumps({"kubeproxy.config.k8s.io": config}),
        }
        body = pages.get(self.path, "").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


_KEPT: list[object] = []


def live(folder: Path, mode: str, pods: list[str], made: list[tuple[str, dict[str, Any]]]) -> str:
    """Have kube-proxy's pages, listeners in the Pods, and an API; return its kubeconfig."""
    _Pages.mode = mode.partition("-")[0]
    pages = ThreadingHTTPServer(("127.0.0.1", 10249), _Pages)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    for netns in pods:
        with entered(Place("", os.getpid(), netns)):
            _KEPT.append(socket.create_server(("", 8080)))
    ready = threading.Event()
    serving = threading.Thread(target=lambda: asyncio.run(_serve(folder, made, ready)), daemon=True)
    serving.start()
    assert ready.wait(60)
    return str(folder / "kubeconfig")


async def _serve(
    folder: Path, made: list[tuple[str, dict[str, Any]]], ready: threading.Event
) -> None:
    by_plural: dict[str, Kind] = {
        kind.plural: kind for kind in kinds.KINDS if kind.group != "events.k8s.io"
    }
    async with secured_server(folder) as server, Client.from_kubeconfig(server.kubeconfig) as api:
        for plural, wire in made:
            kind = by_plural[plural]
            item = kind.model.parse(wire)
            stored = await api.create(kind, item)
            if "status" in wire:
                await api.update_status(kind, stored.model_copy(update={"status": item.status}))
        ready.set()
        await asyncio.Event().wait()


def invoke(command: str, words: list[str]) -> tuple[int, str]:
    """Run a command; return its code and what it printed."""
    done = CliRunner().invoke(COMMANDS[command], words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout + done.stderr
