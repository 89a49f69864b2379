"""What NetworkPolicies cost: a new connection, a change of labels, and a first load.

    bin/bench policy [--policies 1000] [--rounds 7] [--changes 200] [--backends nftables ebpf]

Each back end serves a node with 100 Pods of a cluster of 1,000. In each round the cluster has no
policy, then so many; a Pod connects to another of its node, in turns with Pods of a node without a
proxy. A change of one Pod's label is measured from the API's write to the kernel's set. Fails over
1.05 times the connection without a policy in mode nftables, 1.10 in ebpf, or over 30 ms at the 99th
percentile of changes. All runs in namespaces of its own. Believe the ratios, not the times.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Any

from bench import page, proxy_node
from bench.cpus import placements
from bench.proxy_lab import CALLED, FAR_POD, POD, Bench, laboratory
from bench.proxy_process import Run, Subject
from bench.ratios import paired
from bench.sealed import seal
from bench.versus import THIS
from tests.support.groups import owned
from tests.support.proxy import fake_api
from tests.support.proxy.policies import namespace, pod, policy

LIMITS = {"nftables": 1.05, "ebpf": 1.10, "iptables-nft": 1.05, "iptables-legacy": 1.05}
MOST_MILLISECONDS = 30.0
_TURNS, _PAIRS = 10, 50
_LOCAL, _PODS = 100, 1000
_changed = count()
_PATIENCE = 300.0  # seconds
_PREPARE = (
    "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t bpf bpf /sys/fs/bpf; ip link set lo up"
)


@dataclass
class Figures:
    """What was measured of one back end; times in seconds, connections by their placement."""

    without: dict[str, list[float]] = field(default_factory=dict)
    among: dict[str, list[float]] = field(default_factory=dict)
    changes: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)


def pods() -> list[dict[str, Any]]:
    """Return the cluster's Pods; the first two call and are called."""
    known = [
        pod("called", "n1", POD, labels={"app": "called"}),
        pod("caller", "n1", "10.244.1.9", labels={"role": "caller"}),
    ]
    for number in range(_PODS - len(known)):
        local = number < _LOCAL
        address = f"10.244.1.{number + 20}" if local else f"10.246.{number >> 8}.{number & 255}"
        known.append(_pod(number, "n1" if local else "n3", address, "r0"))
    return known


def _pod(number: int, node: str, address: str, role: str) -> dict[str, Any]:
    return pod(f"p{number}", node, address, labels={"app": f"a{number % 500}", "role": role})


def policies(number: int) -> list[dict[str, Any]]:
    """Return so many policies; the last one isolates the Pod that is called, and admits one."""

    def rule(role: str, port: int) -> dict[str, Any]:
        who = {"podSelector": {"matchLabels": {"role": role}}}
        block = {"ipBlock": {"cidr": f"192.0.{port % 256}.0/24"}}
        return {"from": [who, block], "ports": [{"port": port}]}

    found = [
        policy(f"n{one}", {"app": f"a{one % 500}"}, ingress=[rule(f"r{one % 20}", 1000 + one)])
        for one in range(number - 1)
    ]
    return [*found, policy("zzz", {"app": "called"}, ingress=[rule("caller", CALLED)])]


def measure(bench: Bench, backend: str, options: argparse.Namespace) -> Figures:
    """Measure one back end."""
    figures, wires = Figures(), policies(options.policies)
    api = bench.lab.workers["switch"]
    run = Run(bench, Subject(backend, THIS))
    try:
        run.synced()
        for number in range(options.rounds + 1):
            _connect(bench, figures.without, number)
            api.call(fake_api.put, *wires)
            _await(bench, True)
            _connect(bench, figures.among, number)
            if number == options.rounds:
                figures.changes = [_change(bench) for _ in range(options.changes)]
            else:
                api.call(fake_api.remove, *wires)
                _await(bench, False)
            print(f"{backend}: round {number} of {options.rounds}", file=sys.stderr)
    finally:
        run.end()
    for _ in range(3):
        run = Run(bench, Subject(backend, THIS))
        figures.loads.append(_await(bench, True) - run.began)
        run.end()
    api.call(fake_api.remove, *wires)
    bench.lab.workers["node"].call(proxy_node.forget)
    return figures


def _connect(bench: Bench, kept: dict[str, list[float]], number: int) -> None:
    """Measure a new connection, as a multiple of one on a node without a proxy."""
    client, stranger = bench.lab.workers["p"], bench.lab.workers["d"]
    here, there = ((POD, CALLED),) * 2, ((FAR_POD, CALLED),) * 2
    for name, (clients, servers) in placements().items():
        bench.place(clients, servers)
        turns = []
        for _ in range(_TURNS):
            ours = client.call(proxy_node.connect_pairs, here, _PAIRS // 2)
            bare = stranger.call(proxy_node.connect_pairs, there, _PAIRS // 2)
            turns.append(median([*ours[0], *ours[1]]) / median([*bare[0], *bare[1]]))
        if number:  # the first round warms up
            kept.setdefault(name, []).append(median(turns))


def _await(bench: Bench, isolated: bool) -> float:
    """Wait until the kernel has the last policy, or none; return the time."""
    deadline, node = time.monotonic() + _PATIENCE, bench.lab.spaces["node"]
    command = ("nft", "list", "map", "ip", "podwire-policy", "ingress")
    while (f"{POD} : goto" in node.run(*command, check=False)) is not isolated:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the kernel has not got the policies within {_PATIENCE} s")
        time.sleep(0.01)
    return time.monotonic()


def _change(bench: Bench) -> float:
    """Give a Pod of another node another label; return the seconds to the kernel."""
    node, api = bench.lab.workers["node"], bench.lab.workers["switch"]
    number = next(_changed)  # the same Pod gets another label when its turn comes again
    which = _LOCAL + number % (_PODS - _LOCAL - 2)
    node.call(proxy_node.expect_change, "nftables", "")
    node.start(proxy_node.await_change)
    time.sleep(0.02)
    address = f"10.246.{which >> 8}.{which & 255}"
    began = time.monotonic()
    api.call(fake_api.put, _pod(which, "n3", address, f"r{number % 19 + 1}"))
    return float(node.finish() - began)


def p99(times: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return sorted(times)[int(len(times) * 0.99)] * 1000


def rows(found: dict[str, Figures]) -> list[list[str]]:
    """Return the lines of the table."""
    made = []
    for backend, one in found.items():
        costs = [str(paired(one.among[name], one.without[name])) for name in placements()]
        change = f"{median(one.changes) * 1000:.1f} ms ({p99(one.changes):.0f} ms)"
        made.append([backend, *costs, change, f"{median(one.loads):.2f} s"])
    return made


def is_over(backend: str, one: Figures) -> bool:
    """Return True beyond a limit."""
    worst = max(paired(one.among[name], one.without[name]).low for name in placements())
    return worst > LIMITS[backend] or p99(one.changes) > MOST_MILLISECONDS


def main() -> int:
    """Measure, print, and fail beyond the limits."""
    parser = argparse.ArgumentParser(prog="bin/bench policy", description=(__doc__ or "")[:79])
    add = parser.add_argument
    add("--policies", type=int, default=1000)
    add("--rounds", type=int, default=7)
    add("--changes", type=int, default=200)
    add("--backends", nargs="+", choices=list(LIMITS), default=["nftables", "ebpf"])
    add("--write", action="store_true", help="write the figures to docs/figures.md")
    options = parser.parse_args()
    cgroup = seal(_PREPARE, owned("bench"))
    with laboratory(cgroup) as bench:
        bench.fill(1)
        bench.lab.workers["switch"].call(fake_api.put, namespace("ns"), *pods())
        found = {one: measure(bench, one, options) for one in options.backends}
    head = [
        "back end",
        *(
            f"a new connection on {name}, as a multiple of one without policies"
            for name in placements()
        ),
        "a Pod's label changed, from the API's write to the kernel (99th percentile)",
        "first load, from the process's start",
    ]
    text = f"{options.policies:,} policies, {_PODS:,} Pods, {_LOCAL} of them on the node.\n\n"
    text += page.table(head, rows(found))
    place = page.conditions(page.version("nft", "--version"))
    text = f"{place}\n{page.loads([os.getloadavg()[1]])}\n{text}"
    print(text)
    if options.write:
        page.write("bin/bench policy --write", text)
    return int(any(is_over(backend, one) for backend, one in found.items()))


if __name__ == "__main__":
    sys.exit(main())
