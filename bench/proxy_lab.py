"""Where the proxy is measured: a node, pods, an API server with many Services, and the proxy."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

from bench import proxy_node
from tests.support.groups import group, join
from tests.support.proxy import fake_api
from tests.support.proxy.lab import ProxyLab
from tests.support.space import Space

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = {
    "nftables": ("--proxy-mode=nftables",),
    "ebpf": ("--proxy-mode=ebpf",),
    "iptables-nft": ("--proxy-mode=iptables", "--iptables-flavor=nft"),
    "iptables-legacy": ("--proxy-mode=iptables", "--iptables-flavor=legacy"),
}
API = ("192.168.0.254", 8001)
POD, CALLED, SINK = "10.244.1.2", 8090, 8091  # a pod that answers, and what it answers at
FAR_POD = "10.244.2.2"  # likewise, on a node without a proxy
_UIDS = UUID(int=0)
_FIRST_VIP = ip_address("10.96.0.1")
_FIRST_POD = ip_address("10.244.16.0")
_BEGIN = ("-P", "-m", "lab.main", "proxy")  # as bin/podwire does


def vip(number: int) -> str:
    """The ClusterIP of a Service."""
    return str(_FIRST_VIP + number)


def service(number: int, name: str = "", ports: tuple[int, ...] = (80,)) -> dict[str, Any]:
    """A Service."""
    address, meta = vip(number), _meta(name or f"s{number}")
    named = [{"name": f"p{port}", "protocol": "TCP", "port": port} for port in ports]
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": named}
    return {"kind": "Service", "metadata": meta, "spec": spec}


def endpoints(number: int, *, gone: int = 0) -> dict[str, Any]:
    """Its slice: four endpoints, but for the first ``gone``."""
    addresses = [str(_FIRST_POD + 4 * number + one) for one in range(gone, 4)]
    return _slice(f"s{number}", addresses, {80: 8080})


def _slice(name: str, addresses: list[str], ports: dict[int, int]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    return {
        "kind": "EndpointSlice",
        "metadata": _meta(f"{name}-x", labels),
        "addressType": "IPv4",
        "ports": [{"name": f"p{one}", "protocol": "TCP", "port": to} for one, to in ports.items()],
        "endpoints": [_endpoint(address) for address in addresses],
    }


def _endpoint(address: str) -> dict[str, Any]:
    """As controllers write it; one in fifty is on the node that is measured."""
    pod = f"web-{int(ip_address(address)):x}"
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"n{int(ip_address(address)) % 50 + 1}",
        "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod, "uid": str(uuid5(_UIDS, pod))},
    }


def _meta(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "namespace": "ns",
        "name": name,
        "uid": str(uuid5(_UIDS, name)),
        "creationTimestamp": "2026-11-22T12:00:00Z",
        "labels": labels or {},
    }


class Bench:
    """The lab, with Services in it."""

    def __init__(self, lab: ProxyLab, cgroup: str, folder: Path) -> None:
        self.lab = lab
        self.cgroup = cgroup
        self.kubeconfig = folder / "kubeconfig"
        self.called = ""  # the ClusterIP of a Service that leads to a pod that answers
        self._changes = 0
        self._api = lab.workers["switch"]
        self._api.call(fake_api.start, *API)
        server = {"server": f"http://{API[0]}:{API[1]}"}
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "x", "cluster": server}],
                    "users": [{"name": "x", "user": {"token": fake_api.TOKEN}}],
                    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                    "current-context": "x",
                }
            )
        )
        join(cgroup, [lab.workers["p"]])  # who calls is a pod of the node, in mode ebpf too
        for pod in "ac":
            lab.workers[pod].call(proxy_node.answer, CALLED)
        lab.workers["a"].call(proxy_node.swallow, SINK)

    def fill(self, services: int) -> None:
        """Have so many Services. One of them leads to the pod that answers: in mode iptables the
        last one in the chain.
        """
        wires = [wire for one in range(services - 1) for wire in (service(one), endpoints(one))]
        self._api.call(fake_api.put, *wires)
        self.called, ports = vip(services), {80: CALLED, 81: SINK}
        self._api.call(fake_api.put, service(services, "zzz", tuple(ports)))
        self._api.call(fake_api.put, _slice("zzz", [POD], ports))
        self._api.call(gc.freeze)  # its collector would hold a change up for 0.1 s

    def next_changed(self, services: int) -> int:
        """Which Service ``change`` will change."""
        return self._changes % (services - 1)

    def change(self, services: int) -> None:
        """Take an endpoint from a Service, or give it back; another one each time."""
        number, turn = self.next_changed(services), self._changes // (services - 1)
        self._changes += 1
        self._api.call(fake_api.put, endpoints(number, gone=1 - turn % 2))


@contextmanager
def laboratory() -> Iterator[Bench]:
    """Without Services yet."""
    with ExitStack() as stack:
        made: list[Space] = []
        stack.callback(lambda: [space.remove() for space in made])

        def make(name: str) -> Space:
            made.append(Space(f"bench-{name}"))
            return made[-1]

        folder = stack.enter_context(TemporaryDirectory())
        cgroup = stack.enter_context(group("bench"))
        lab = ProxyLab(make)
        stack.callback(lab.stop)
        yield Bench(lab, cgroup, Path(folder))


class Run:
    """One backend's process in the lab's node."""

    def __init__(self, bench: Bench, backend: str) -> None:
        self._node = bench.lab.spaces["node"]
        given = ("--node-name=n1", "-v", "--cluster-cidr=10.244.0.0/16")
        self._options = (f"--kubeconfig={bench.kubeconfig}", f"--cgroup-root={bench.cgroup}")
        environment = os.environ | {"PYTHONPYCACHEPREFIX": f"{ROOT}/.venv/pycache"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            self._node.argv(sys.executable, *_BEGIN, *given, *self._options, *BACKENDS[backend]),
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def synced(self) -> float:
        """Wait for a sync; seconds since the start."""
        log = self._process.stderr
        assert log is not None
        for line in log:
            if " synced " in line:
                return time.monotonic() - self.began
        raise SystemExit("the proxy has ended: run it by hand to see why")

    def memory(self, what: str) -> float:
        """Megabytes: VmRSS, resident now, or VmHWM, the most so far."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(what)

    def seconds(self) -> float:
        """Processor time so far, with that of the commands it ran."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stop, and take its rules away."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()
        self._node.run(sys.executable, "-m", "lab.main", "proxy", "--cleanup", *self._options)
