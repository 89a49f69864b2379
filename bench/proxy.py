"""The proxy's back ends beside each other, and beside no proxy at all, in one run.

    bin/bench proxy [--services 1 100 1000 5000 10000] [--backends nftables …] [--rounds 7]
    bin/bench proxy --against CHECKOUT      beside another checkout of podwire, in turns
    bin/bench proxy --show FILE …           figures that --save has kept
    bin/bench proxy --write                 also write them to docs/figures.md

In each round each back end in turn starts with so many Services of four endpoints. Measured are the
first load, from the process's start to its last rule; one endpoint changed, from the API's write to
the kernel; memory; processor time at 50 changes a second; a new connection, and throughput, through
a ClusterIP and straight to the pod, in turns. A proxy's rules cost straight connections something
too, so a new connection is also set beside one on a node without a proxy. Clients and servers are
bound to CPUs: to one, and to two. All runs in namespaces of its own. Believe the ratios, not the
times.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from statistics import median

from bench import page, proxy_node
from bench.cpus import placements
from bench.proxy_lab import CALLED, FAR_POD, POD, SINK, Bench, laboratory, vip
from bench.proxy_process import BACKENDS, Run, Subject
from bench.proxy_report import compare, is_comparison, show, write, write_comparison
from bench.proxy_results import Result, Round, Turn, read, save
from bench.sealed import is_sealed, seal
from bench.versus import in_turn, judge, trees
from proxy.model.naming import digest
from tests.support.groups import owned

_TURNS, _PAIRS = 10, 50
_TRANSFERS, _TRANSFER_BYTES = 20, 1 << 25
_CHANGING = 1.0  # seconds of 50 changes a second
_BEGINNING = 1.0  # seconds after which a big Service is being written
_SERVICES = [1, 100, 1000, 5000, 10000]
_PREPARE = (  # what the proxy keeps for a node is empty, and vanishes with the run
    "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t bpf bpf /sys/fs/bpf; ip link set lo up"
)


def measure(bench: Bench, subject: Subject, services: int, changes: int) -> Round:
    """All about one process of the proxy."""
    run = Run(bench, subject)
    try:
        one = Round(load=run.synced())
        one.load_busy = run.seconds()
        if services > 1:
            one.changes = [_change(bench, subject.backend, services) for _ in range(changes)]
            one.busy = _load_of_changes(bench, run, services)
        one.memory, one.most_memory = run.memory("VmRSS"), run.memory("VmHWM")
        for name, (clients, servers) in placements().items():
            bench.place(clients, servers)
            one.turns[name] = _connect(bench)
        one.transfers = _transfer(bench)
        if services > 1 and subject.backend == "iptables-nft":
            one.beside_big = _beside_big(bench, services, changes)
    finally:
        run.end()
        bench.lab.workers["node"].call(proxy_node.forget)
    if one.beside_big:
        one.load_beside_big = _load_beside_big(bench, subject)
    return one


def _beside_big(bench: Bench, services: int, changes: int) -> list[float]:
    """Changes of other Services while one with 1,000 endpoints at 20 ports is written, seconds."""
    node = bench.lab.workers["node"]
    bench.put_big()
    time.sleep(_BEGINNING)
    times = []
    for number in range(changes):
        name = f"ns/s{bench.next_changed(services)}:p80tcp"
        node.call(proxy_node.expect_chain, f"KUBE-SVC-{digest(name)}")
        node.start(proxy_node.await_change)
        time.sleep(0.02 + number / 400)  # at any moment of what the proxy does meanwhile
        began = time.monotonic()
        bench.change(services)
        times.append(float(node.finish() - began))
    bench.remove_big()
    return times


def _load_beside_big(bench: Bench, subject: Subject) -> float:
    """The first load with such a Service: until all others are in force, seconds."""
    bench.put_big()
    run = Run(bench, subject)
    try:
        return run.synced()
    finally:
        run.end()
        bench.remove_big()


def _connect(bench: Bench) -> list[Turn]:
    """Straight to the pod, through the Service, and on the node without a proxy, in turns."""
    client, stranger = bench.lab.workers["p"], bench.lab.workers["d"]
    here = (POD, CALLED), (bench.called, 80)
    there = ((FAR_POD, CALLED),) * 2
    turns = []
    for _ in range(_TURNS + 1):
        direct, service = client.call(proxy_node.connect_pairs, here, _PAIRS)
        bare = stranger.call(proxy_node.connect_pairs, there, _PAIRS // 2)
        turns.append(Turn(median(direct), median(service), median([*bare[0], *bare[1]])))
    return turns[1:]  # the first warms up


def _transfer(bench: Bench) -> list[tuple[float, float]]:
    places = (POD, SINK), (bench.called, 81)
    client = bench.lab.workers["p"]
    times = client.call(proxy_node.transfer_pairs, places, _TRANSFERS, _TRANSFER_BYTES)
    return list(zip(*times, strict=True))[1:]  # the first warms up


def _change(bench: Bench, backend: str, services: int) -> float:
    """From the API's write to the kernel, seconds."""
    node = bench.lab.workers["node"]
    node.call(proxy_node.expect_change, backend, vip(bench.next_changed(services)))
    node.start(proxy_node.await_change)
    time.sleep(0.02)  # two syncs are some milliseconds apart
    began = time.monotonic()
    bench.change(services)
    return float(node.finish() - began)


def _load_of_changes(bench: Bench, run: Run, services: int) -> float:
    """The share of a processor that 50 endpoint changes a second take."""
    before, began = run.seconds(), time.monotonic()
    for number in count():
        due = began + number / 50
        if due > began + _CHANGING:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        bench.change(services)
    return (run.seconds() - before) / (time.monotonic() - began)


def measure_all(cgroup: str, subjects: list[Subject], options: argparse.Namespace) -> list[Result]:
    """Every subject with each number of Services."""
    results: list[Result] = []
    for services in options.services:
        with laboratory(cgroup) as bench:
            bench.fill(services)
            results += measure_rounds(bench, subjects, services, options)
    return results


def measure_rounds(
    bench: Bench, subjects: list[Subject], services: int, options: argparse.Namespace
) -> Iterable[Result]:
    """Every subject in turn, round after round."""
    peers = page.version("nft", "--version"), page.version("iptables", "--version")
    place = page.conditions(*peers)
    results = {one: Result(one.backend, one.tree.name, services, place) for one in subjects}
    for number in range(options.rounds + 1):
        for subject in in_turn(subjects, number):
            one = measure(bench, subject, services, options.changes if number else 1)
            if number:  # the first round warms up
                results[subject].rounds.append(one)
        print(f"{services:,} Services: round {number} of {options.rounds}", file=sys.stderr)
    for subject, result in results.items():
        result.commit, result.machine_load = subject.tree.commit, os.getloadavg()[1]
    return results.values()


def parse() -> argparse.Namespace:
    """The command line."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="bin/bench proxy", description=description)
    add = parser.add_argument
    add("--services", type=int, nargs="+", help="default: 1 to 10000; beside a checkout 1000")
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--rounds", type=int, help="default: 7; beside a checkout 25")
    add("--changes", type=int, default=15, help="measured in each round")
    add("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout of podwire")
    add("--write", action="store_true", help="write the figures to docs/figures.md")
    add("--save", type=Path, metavar="FILE", help="keep the figures")
    add("--show", type=Path, nargs="+", metavar="FILE", help="show kept figures; measure nothing")
    options = parser.parse_args()
    options.services = options.services or ([1000] if options.against else _SERVICES)
    options.rounds = options.rounds or (25 if options.against else 7)
    return options


def report(results: list[Result], options: argparse.Namespace) -> int:
    """Show the figures, and keep them as asked; returns the exit status."""
    if options.save:
        save(results, options.save)
    show(results)
    if not is_comparison(results):
        if options.write:
            write(results)
        return 0
    if options.write:
        write_comparison(results)
    return 1 if judge(compare(results)) else 0


def main() -> int:
    """Measure or show; returns the exit status, 1 if this checkout is slower than the other."""
    options = parse()
    if options.show:
        return report(read(options.show), options)
    measured = trees(options.against)
    if not is_sealed():
        for other in measured[1:]:
            other.set_up()
    cgroup = seal(_PREPARE, owned("bench"))
    subjects = [Subject(backend, tree) for backend in options.backends for tree in measured]
    return report(measure_all(cgroup, subjects, options), options)


if __name__ == "__main__":
    sys.exit(main())
