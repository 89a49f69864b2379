"""A proxy that runs as a process, with its lab and its API server."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from proxy.backends.ebpf.mounts import INLETS, LINKS, remove_pins
from tests.support.cni.worker import ROOT
from tests.support.groups import join
from tests.support.parts import program
from tests.support.proxy import fake_api
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.prober import (
    TCP,
    Probe,
    ask,
    echo,
    fetch,
)
from tests.support.space import Space

API = ("192.168.0.254", 8001)
PATIENCE = 180  # seconds: what takes so long has failed on any machine
CLUSTER_CIDR = "10.244.0.0/16,fd00:10:244::/56"


VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"


PODS = {
    "a": ("10.244.1.2", "fd00:10:244:1::2", "n1"),
    "b": ("10.244.1.3", "fd00:10:244:1::3", "n1"),
    "c": ("10.244.2.2", "fd00:10:244:2::2", "n2"),
}


KUBECONFIG = {
    "clusters": [{"name": "x", "cluster": {"server": f"http://{API[0]}:{API[1]}"}}],
    "users": [{"name": "x", "user": {"token": fake_api.TOKEN}}],
    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    "current-context": "x",
}


PORTS = [("tcp", "TCP", 80, 8080), ("echo", "TCP", 7, 8081), ("udp", "UDP", 53, 8080)]


def service(name: str = "web", vips: tuple[str, ...] = (VIP, VIP6), **spec) -> dict:
    """Return a Service with the ports ``PORTS``."""
    ports = [{"name": n, "protocol": p, "port": port, "targetPort": to} for n, p, port, to in PORTS]
    spec = {"clusterIP": vips[0], "clusterIPs": list(vips), "ports": ports, **spec}
    meta = {"namespace": "ns", "name": name}
    return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": spec}


def slices(*pods: str, name: str = "web", leaving: str = "") -> list[dict]:
    """Return both families' slices.

    ``pods`` are ready; those in ``leaving`` terminate but serve.
    """
    ports = [{"name": n, "protocol": p, "port": to} for n, p, _, to in PORTS]
    return [
        {
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "ns",
                "name": f"{name}-{family}",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": family,
            "ports": ports,
            "endpoints": [
                _endpoint(PODS[pod][index], PODS[pod][2], pod in leaving)
                for pod in (*pods, *leaving)
            ],
        }
        for index, family in enumerate(("IPv4", "IPv6"))
    ]


def _endpoint(address: str, node: str, leaving: bool) -> dict:
    conditions = {"ready": not leaving, "serving": True, "terminating": leaving}
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


NODE = {
    "kind": "Node",
    "metadata": {"name": "n1"},
    "spec": {"podCIDRs": ["10.244.1.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]},
}


_SYNCS = ("last_queued_timestamp_seconds", "last_timestamp_seconds", "duration_seconds_count")


class RunningProxy:
    """The lab, its API server, and the proxy under test."""

    def __init__(
        self, make: Callable[[str], Space], folder: Path, backend: str, group: str
    ) -> None:
        """``group`` is the cgroup of the node's processes."""
        self.lab = ProxyLab(make)
        self.api = self.lab.workers["switch"]
        self.api.call(fake_api.start, *API)
        self.api.call(fake_api.put, NODE)
        for pod in PODS:
            self.lab.workers[pod].call(echo, 8081)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(KUBECONFIG))
        self.log = folder / "log"
        self.mode, _, self.flavor = backend.partition("-")
        self.group = group
        join(group, (self.lab.workers[name] for name in ("node", "a", "b", "p")))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *args: str) -> list[str]:
        proxy = (*program("proxy"), "--node-name", "n1")
        cluster = ("--kubeconfig", str(self.kubeconfig), "--cluster-cidr", CLUSTER_CIDR)
        flavor = ("--iptables-flavor", self.flavor or "auto")
        mode = ("--proxy-mode", self.mode, "--cgroup-root", self.group)
        given = (*proxy, *cluster, *mode, *flavor, *args)
        return self.lab.spaces["node"].argv(*given)

    def run(self, *args: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(*args), cwd=ROOT, stderr=log)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.process = None
        return code

    def close(self) -> None:
        """End the proxy and the lab."""
        if self.process is not None:
            self.end(signal.SIGKILL)
        self.lab.workers["node"].call(remove_pins)
        self.lab.stop()

    def put(self, *wires: dict) -> None:
        self.api.call(fake_api.put, *wires)

    def answers(
        self,
        source: str = "pod",
        address: str = VIP,
        port: int = 80,
        protocol: str = TCP,
        tries: int = 12,
        timeout: float = 60.0,
        strict: bool = False,
    ) -> set[str]:
        """Return who answers; who does not within ``timeout`` seconds is ``silent``.

        With ``strict``, a question without an answer is the last.
        """
        probe = Probe(address, port, protocol, tries=tries, timeout=timeout, strict=strict)
        return {answer.name for answer in self.lab.client(source).call(ask, [probe])[0]}

    def until(self, expected: set[str], **where) -> None:
        """Wait until exactly these Pods answer, in two rounds: a round during a change sees both
        states.

        On a busy CPU iptables may take half a minute for hundreds of Services. A question from
        before the rules gets no answer, so it is given up soon, and its round with it; later rounds
        have more patience, as an answer takes longer there.
        """
        deadline, times, timeout = time.monotonic() + PATIENCE, 0, 0.2
        while times < 2:
            found = self.answers(**where, timeout=timeout, strict="refused" not in expected)
            times = times + 1 if found == expected else 0
            assert times or time.monotonic() < deadline, f"{found} answer, not {expected}"
            if not times:
                timeout = min(1.2 * timeout, 2.0)
                time.sleep(0.05)  # the proxy needs the processor more

    def url(self, path: str, port: int) -> tuple[int, str]:
        """Return the status and the body of a page of the node's loopback."""
        return self.lab.workers["node"].call(fetch, f"http://127.0.0.1:{port}{path}")

    def metrics(self) -> dict[str, float]:
        """Return the proxy's metrics: those without labels, and IPv4's; empty while it does not
        answer.
        """
        try:
            lines = self.url("/metrics", 10249)[1].splitlines()
        except AssertionError:
            return {}
        lines = [line.replace('{ip_family="IPv4"}', "") for line in lines]
        plain = (line.split() for line in lines if line[:1].isalpha() and "{" not in line)
        return {name.removeprefix("kubeproxy_"): float(value) for name, value in plain}

    def disturbed(self) -> int:
        """Return how often another program changed the rules, as the proxy counts it."""
        return int(self.metrics()["rules_disturbed_total"])

    def settle(self) -> None:
        """Wait until the proxy stops writing: while it writes, it does not hear other programs'
        changes.
        """
        deadline = time.monotonic() + PATIENCE
        before: list[float] = []
        while True:
            found = self.metrics()
            now = [found.get(f"sync_proxy_rules_{name}", 0) for name in _SYNCS]
            if now == before and 0 < now[0] <= now[1]:
                return
            assert time.monotonic() < deadline, f"queued, done, count: {now}"
            before = now
            time.sleep(0.1)

    def check(self, port: int) -> tuple[int, int, dict]:
        """Return a health check port's status (0 if none listens), endpoints, and body."""
        try:
            status, text = self.url("/", port)
        except AssertionError:
            return 0, 0, {}
        body = json.loads(text)
        return status, body["localEndpoints"], body

    def rules(self) -> str:
        node = self.lab.spaces["node"]
        if self.mode != "iptables":
            tables = (("nft", "list", "table", ip, "podwire-proxy") for ip in ("ip", "ip6"))
            pins = (*LINKS.glob("*"), *INLETS.glob("*"))
            hooks = sorted(path.name for path in pins)
            return "".join([*(node.run(*table, check=False) for table in tables), *hooks])
        return "".join(node.run(f"{tool}-{self.flavor}-save") for tool in ("iptables", "ip6tables"))
