"""The proxy's backends against each other, and against no proxy at all, in the same run.

    bin/bench proxy [--services 1 100 1000 5000 10000] [--backends nftables …] [--changes 100]
    bin/bench proxy --show FILE …

For each number of Services, of four endpoints each: the first load, from the process's start to
its last rule; one endpoint changed, from the API's write to the kernel; memory, and how much it was
at most; processor time at 50 changes a second; and a new connection, and throughput, through a
ClusterIP beside the same straight to the pod, in turns. A proxy's rules cost connections that
go straight to a pod something too, so a new connection is also set beside one on a node without a
proxy. In mode iptables the Service that is called is the last of its chain. All runs in namespaces
of its own. Believe the ratios, not the times. --save keeps the results of a part, --show shows many
such parts together.
"""

import argparse
import sys
import time
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import proxy_node  # noqa: E402
from bench.common import seal  # noqa: E402
from bench.proxy_lab import BACKENDS, CALLED, FAR_POD, POD, SINK, Bench, Run, laboratory, vip  # noqa: E402
from bench.proxy_report import Result, read, save, show  # noqa: E402

_TURNS, _PAIRS = 40, 50
_TRANSFERS, _TRANSFER_SECONDS = 11, 0.4
_NETNS = "mount -t tmpfs tmpfs /run/netns && ip link set lo up"


def measure(bench: Bench, backend: str, services: int, options: argparse.Namespace) -> Result:
    """Everything about one backend with so many Services."""
    result = Result(backend, services)
    for number in range(options.loads):
        run = Run(bench, backend)
        try:
            result.loads.append(run.synced())
            result.load_busy = run.seconds()
            if number == options.loads - 1:
                _measure_running(bench, run, result, options.changes)
        finally:
            run.end()
            bench.lab.workers["node"].call(proxy_node.forget)
    return result


def _measure_running(bench: Bench, run: Run, result: Result, changes: int) -> None:
    if result.services > 1:
        result.changes = [_change(bench, result) for _ in range(changes)]
        result.busy = _load_of_changes(bench, run, result.services)
    result.memory, result.most_memory = run.memory("VmRSS"), run.memory("VmHWM")
    client = bench.lab.workers["p"]
    _connect(bench, result)
    sinks = (POD, SINK), (bench.called, 81)
    result.transfer = client.call(proxy_node.transfer_pairs, sinks, _TRANSFERS, _TRANSFER_SECONDS)


def _connect(bench: Bench, result: Result) -> None:
    """In turns: straight to the pod, by the Service, and the same on the node without a proxy."""
    client, stranger = bench.lab.workers["p"], bench.lab.workers["d"]
    here = (POD, CALLED), (bench.called, 80)
    there = ((FAR_POD, CALLED),) * 2
    for turn in range(_TURNS + 1):
        times = client.call(proxy_node.connect_pairs, here, _PAIRS)
        bare = stranger.call(proxy_node.connect_pairs, there, _PAIRS // 2)
        if turn:  # the first warms up
            result.connect[0] += times[0]
            result.connect[1] += times[1]
            result.bare += [*bare[0], *bare[1]]


def _change(bench: Bench, result: Result) -> float:
    """From the API's write to the kernel, seconds."""
    node = bench.lab.workers["node"]
    changing = vip(bench.next_changed(result.services))
    node.call(proxy_node.expect_change, result.backend, changing)
    node.start(proxy_node.await_change)
    time.sleep(0.02)  # two syncs are some milliseconds apart
    began = time.monotonic()
    bench.change(result.services)
    return float(node.finish() - began)


def _load_of_changes(bench: Bench, run: Run, services: int, seconds: float = 4.0) -> float:
    """The share of a processor that 50 endpoint changes a second take."""
    before, began = run.seconds(), time.monotonic()
    for number in count():
        due = began + number / 50
        if due > began + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        bench.change(services)
    return (run.seconds() - before) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, nargs="+", default=[1, 100, 1000, 5000, 10000])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--loads", type=int, default=3, help="of which the median counts")
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.show:
        show(read(options.show))
        return
    seal(_NETNS)
    results = []
    for services in options.services:
        with laboratory() as bench:
            bench.fill(services)
            for backend in options.backends:
                results.append(measure(bench, backend, services, options))
                print(f"measured {results[-1].label}", file=sys.stderr, flush=True)
    if options.save:
        save(results, options.save)
    show(results)


if __name__ == "__main__":
    main()
