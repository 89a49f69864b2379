"""The proxy's backends against each other, and against no proxy at all, in the same run.

    bin/bench proxy [--services 100 1000 5000] [--changes 40] [--backends nftables …]

For each number of Services, of four endpoints each: the first load, from the process's start to
its last rule; one endpoint changed, from the API's write to the kernel's event; memory; processor
time at 50 changes a second; and a new connection through a ClusterIP beside one straight to the
pod, taken in turns. Everything runs in namespaces of its own. Believe the ratios, not the times.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.proxy_node import await_change  # noqa: E402
from tests.netns import fake_api  # noqa: E402
from tests.netns.conftest import Space  # noqa: E402
from tests.netns.prober import connect_times  # noqa: E402
from tests.netns.proxy_lab import ProxyLab  # noqa: E402

BACKENDS = {
    "iptables-legacy": ("--proxy-mode=iptables", "--iptables-flavor=legacy"),
    "iptables-nft": ("--proxy-mode=iptables", "--iptables-flavor=nft"),
    "nftables": ("--proxy-mode=nftables",),
}
API = ("192.168.0.254", 8001)
POD = "10.244.1.2"
_BAR = 40


@dataclass
class Result:
    """What was measured of one backend with some number of Services."""

    backend: str
    services: int
    load: float = 0.0
    load_busy: float = 0.0
    changes: list[float] = field(default_factory=list)
    memory: float = 0.0
    busy: float = 0.0
    ratio: float = 0.0


def service(number: int) -> dict[str, Any]:
    """A Service with one port."""
    address = str(ip_address("10.96.0.1") + number)
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports}
    return {"kind": "Service", "metadata": {"namespace": "ns", "name": f"s{number}"}, "spec": spec}


_changes: Counter[int] = Counter()


def endpoints(number: int, *, changed: bool = False) -> dict[str, Any]:
    """Its slice, with one endpoint gone or back if ``changed``. Number -1 leads to the lab's pod A
    alone, so that it can be called.
    """
    first = ip_address("10.244.1.10") + 4 * number
    addresses = [POD] if number < 0 else [str(first + one) for one in range(4)]
    _changes[number] += changed
    addresses = addresses[_changes[number] % 2 :]
    labels = {"kubernetes.io/service-name": f"s{number}"}
    return {
        "kind": "EndpointSlice",
        "metadata": {"namespace": "ns", "name": f"s{number}-x", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


class Run:
    """One backend's process in the lab's node."""

    def __init__(self, lab: ProxyLab, kubeconfig: Path, backend: str) -> None:
        self._lab = lab
        command = ("-c", "from proxy.cli import main; main()", "--node-name=n1", "-v")
        given = (f"--kubeconfig={kubeconfig}", "--cluster-cidr=10.244.0.0/16", *BACKENDS[backend])
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            lab.spaces["node"].argv(sys.executable, *command, *given),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = self._process.stderr

    def synced(self) -> float:
        """Wait for a sync; seconds since the start."""
        for line in self.log:
            if " synced " in line:
                return time.monotonic() - self.began
        raise SystemExit("the proxy has ended: run it by hand to see why")

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def seconds(self) -> float:
        """Processor time so far, with that of the commands it ran."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stop, and take its rules away."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()
        command = ("-c", "from proxy.cli import main; main()", "--cleanup")
        self._lab.spaces["node"].run(sys.executable, *command)


def measure(lab: ProxyLab, kubeconfig: Path, backend: str, services: int, changes: int) -> Result:
    """Everything about one backend with so many Services."""
    result = Result(backend, services)
    run = Run(lab, kubeconfig, backend)
    try:
        result.load = run.synced()
        result.load_busy = run.seconds()
        api, node = lab.workers["switch"], lab.workers["node"]
        for number in range(changes):
            node.start(await_change, backend == "iptables-legacy")
            time.sleep(0.05)
            began = time.monotonic()
            api.call(fake_api.put, endpoints(number % services, changed=True))
            result.changes.append(node.finish() - began)
        result.memory = run.memory()
        result.busy = load_of_changes(lab, run, services)
        result.ratio = ratio(lab, services)
    finally:
        run.end()
    return result


def load_of_changes(lab: ProxyLab, run: Run, services: int, seconds: float = 4.0) -> float:
    """The share of a processor that 50 endpoint changes a second take."""
    before, began = run.seconds(), time.monotonic()
    for number in count():
        due = began + number / 50
        if due > began + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        api = lab.workers["switch"]
        api.call(fake_api.put, endpoints(number % services, changed=True))
    return (run.seconds() - before) / (time.monotonic() - began)


def ratio(lab: ProxyLab, services: int) -> float:
    """A new connection through the last Service, beside one straight to its pod."""
    vip, client = str(ip_address("10.96.0.1") + services), lab.workers["p"]
    pairs = []
    for _ in range(9):
        straight = median(client.call(connect_times, POD, 8080, 150))
        pairs.append(median(client.call(connect_times, vip, 80, 150)) / straight)
    return median(pairs)


@contextmanager
def laboratory() -> Iterator[ProxyLab]:
    """A node, pods, and an API server."""
    made: list[Space] = []

    def make(name: str) -> Space:
        made.append(Space(f"bench-{name}"))
        return made[-1]

    lab = ProxyLab(make)
    lab.workers["switch"].call(fake_api.start, *API)
    try:
        yield lab
    finally:
        lab.stop()


def fill(lab: ProxyLab, services: int) -> None:
    """Have so many Services, and one more that leads to a pod that answers."""
    api = lab.workers["switch"]
    for number in range(services):
        api.call(fake_api.put, service(number), endpoints(number))
    called = endpoints(-1)
    called["metadata"] |= {
        "name": "called",
        "labels": {"kubernetes.io/service-name": f"s{services}"},
    }
    api.call(fake_api.put, service(services), called)


def report(results: list[Result]) -> None:
    """The figures, and the first load drawn."""
    head = ("backend", "Services", "first load", "of that busy", "change p50", "p99", "memory",
            "50/s takes", "connect")  # fmt: skip
    print("{:16} {:>8} {:>11} {:>13} {:>11} {:>9} {:>8} {:>11} {:>8}".format(*head))
    for one in results:
        p99 = quantiles(one.changes, n=100)[98] if len(one.changes) > 1 else one.changes[0]
        p50 = median(one.changes)
        print(
            f"{one.backend:16} {one.services:8} {one.load:9.2f} s {one.load_busy:11.2f} s"
            f" {p50 * 1000:8.1f} ms {p99 * 1000:6.1f} ms {one.memory:5.0f} MB"
            f" {one.busy:10.0%} {one.ratio:7.2f}x"
        )
    longest = max(one.load for one in results)
    print("\nfirst load, from the process's start to its last rule")
    for one in results:
        bar = "█" * max(1, round(one.load / longest * _BAR))
        print(f"{one.backend:16} {one.services:6} {bar} {one.load:.2f} s")


def seal() -> None:
    """Start again in network, mount and process namespaces of our own."""
    if os.environ.get("PODWIRE_BENCH") == "sealed":
        return
    script = 'mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec "$@"'
    Path("/run/netns").mkdir(parents=True, exist_ok=True)
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.environ["PODWIRE_BENCH"] = "sealed"
    os.execvp("unshare", [*argv, "sh", "-c", script, "sh", sys.executable, *sys.argv])  # noqa: S606


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--changes", type=int, default=40)
    options = parser.parse_args()
    seal()
    results = []
    for services in options.services:
        with laboratory() as lab, TemporaryDirectory() as folder:
            kubeconfig = Path(folder) / "kubeconfig"
            server = {"server": f"http://{API[0]}:{API[1]}"}
            kubeconfig.write_text(json.dumps({
                "clusters": [{"name": "x", "cluster": server}],
                "users": [{"name": "x", "user": {"token": fake_api.TOKEN}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "current-context": "x",
            }))  # fmt: skip
            fill(lab, services)
            for backend in options.backends:
                results.append(measure(lab, kubeconfig, backend, services, options.changes))
        for space in list(lab.spaces.values()):
            space.remove()
    report(results)


if __name__ == "__main__":
    main()
