"""The place where the proxy is measured: a node, pods, and an API server with many Services."""

import gc
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

from bench import proxy_node
from bench.cpus import pin
from tests.support.groups import join
from tests.support.proxy import fake_api
from tests.support.proxy.lab import ProxyLab
from tests.support.space import Space

API = ("192.168.0.254", 8001)
POD, CALLED, SINK = "10.244.1.2", 8090, 8091  # a pod that answers, and what it answers at
FAR_POD = "10.244.2.2"  # likewise, on a node without a proxy
_UIDS = UUID(int=0)
_FIRST_VIP = ip_address("10.96.0.1")
_FIRST_POD = ip_address("10.244.16.0")
_FIRST_BIG = ip_address("10.245.0.0")
BIG, BIG_PORTS, BIG_ENDPOINTS, _BIG = "big", 20, 1000, 60_000


def vip(number: int) -> str:
    """The ClusterIP of a Service."""
    return str(_FIRST_VIP + number)


def service(number: int, name: str = "", ports: tuple[int, ...] = (80,)) -> dict[str, Any]:
    """The API object of a Service."""
    address, meta = vip(number), _meta(name or f"s{number}")
    named = [{"name": f"p{port}", "protocol": "TCP", "port": port} for port in ports]
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": named}
    return {"kind": "Service", "metadata": meta, "spec": spec}


def endpoints(number: int, *, gone: int = 0) -> dict[str, Any]:
    """The EndpointSlice of a Service: four endpoints, without the first ``gone``."""
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


def _big() -> tuple[dict[str, Any], dict[str, Any]]:
    ports = tuple(range(1000, 1000 + BIG_PORTS))
    addresses = [str(_FIRST_BIG + one) for one in range(BIG_ENDPOINTS)]
    return service(_BIG, BIG, ports), _slice(BIG, addresses, dict.fromkeys(ports, 8080))


def _endpoint(address: str) -> dict[str, Any]:
    """An endpoint as controllers write it; one in fifty is on the node that is measured."""
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
        self.kubeconfig.write_text(json.dumps(_kubeconfig()))
        join(cgroup, [lab.workers["p"]])  # the caller is a pod of the node, in mode ebpf too
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
        self._api.call(gc.freeze)  # its collector would delay a change by 0.1 s

    def put_big(self) -> None:
        """Have one more Service, with very many endpoints at very many ports."""
        self._api.call(fake_api.put, *_big())

    def remove_big(self) -> None:
        """Take that Service away."""
        self._api.call(fake_api.remove, *_big())

    def place(self, clients: set[int], servers: set[int]) -> None:
        """Bind those who call, on both nodes, and those who answer them to CPUs."""
        workers = self.lab.workers
        pin((workers[name].pid for name in "pd"), clients)
        pin((workers[name].pid for name in "ac"), servers)

    def next_changed(self, services: int) -> int:
        """The number of the Service that ``change`` will change."""
        return self._changes % (services - 1)

    def change(self, services: int) -> None:
        """Take an endpoint from a Service, or give it back; another Service each time."""
        number, turn = self.next_changed(services), self._changes // (services - 1)
        self._changes += 1
        self._api.call(fake_api.put, endpoints(number, gone=1 - turn % 2))


def _kubeconfig() -> dict[str, Any]:
    return {
        "clusters": [{"name": "x", "cluster": {"server": f"http://{API[0]}:{API[1]}"}}],
        "users": [{"name": "x", "user": {"token": fake_api.TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }


@contextmanager
def laboratory(cgroup: str) -> Iterator[Bench]:
    """A lab without Services, whose pods are in a cgroup. It is removed at the end."""
    with ExitStack() as stack:

        def make(name: str) -> Space:
            space = Space(f"bench-{name}")
            stack.callback(space.remove)
            return space

        folder = stack.enter_context(TemporaryDirectory(dir="/run"))  # the seal's own
        lab = ProxyLab(make)
        stack.callback(lab.stop)
        yield Bench(lab, cgroup, Path(folder))
