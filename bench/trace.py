"""What a trace costs the traffic beside it: throughput, and new connections.

    bin/bench trace [--pairs 60]

Two Pods talk over a node, in slices of some tens of milliseconds: with what a trace listens by, and
without, in turns. So both sides of a pair meet the same machine, and all that a trace turns on for
the whole machine counts (time stamps, tracepoints, nftables' tracing). Wall time and processor time
of both Pods are compared. Fails unless both ratios beside a trace of another address are 0.95 or
more, with the lower end of their interval. A trace of this traffic itself is told as a row of its
own: then the command runs, and reads. All runs in namespaces of its own. Believe the ratios.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bench.ratios import Ratio, ratio_of
from bench.sealed import seal
from bench.trace_load import SERVER
from debug.places import Place, of_host
from debug.trace import listen, run
from debug.trace.live import Match
from debug.trace.packet import Flow
from debug.trace.probe import Probe
from debug.trace.rules import table_name

LIMIT = 0.95
_ROOT = Path(__file__).parent.parent
_PREPARE = (
    "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t tmpfs tmpfs /var/lib; "
    "mkdir -p /var/lib/cni/results; ip link set lo up"
)
_CLIENT = "10.244.0.2"
_PODS = {"client": _CLIENT, "server": SERVER}
_STRANGER = "10.244.0.9"
_GROUP = 6  # pairs that disturbances have in common
_KINDS = ("transfer", "connection")
_RULES = """table ip node {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ip daddr 10.244.0.0/24 accept
  }
}
"""

Slice = dict[str, float]
Pair = tuple[Slice, Slice]  # without, with
Listening = Callable[[], AbstractContextManager[object]]


def main() -> None:
    """Run the benchmark, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    pairs = parser.parse_args().pairs
    seal(_PREPARE)
    _make_node()
    places = of_host().places
    rows: dict[str, tuple[Listening, int]] = {
        "nothing": (nullcontext, pairs),
        "another address, live": (lambda: _live(places), pairs),
        "another address, by a probe of TCP": (lambda: _probe(places, "tcp"), pairs),
        "another address, by a probe of UDP": (lambda: _probe(places, "udp"), pairs),
        "this traffic, live, with its reading": (_traced, max(_GROUP, pairs // 6)),
    }
    with _loads() as load:
        found = {name: [_pair(load, on, at) for at in range(n)] for name, (on, n) in rows.items()}
    _print(found)
    if not _keeps(found):
        sys.exit(f"not surely {LIMIT} of the traffic without a trace")


def _live(places: tuple[Place, ...]) -> AbstractContextManager[object]:
    return listen.listening(Match((_STRANGER,)), places, table_name(os.getpid()))


def _probe(places: tuple[Place, ...], protocol: str) -> AbstractContextManager[object]:
    probe = Probe(Flow(protocol, _CLIENT, _STRANGER, 4000, 80), 0x20000000)
    source = next(place for place in places if place.pod == ("default", "client"))
    return run.listening(probe, source, places, table_name(os.getpid()))


def _pair(load: Callable[[], Slice], listening: Listening, number: int) -> Pair:
    """Return a slice without and one with a trace, which of them came first by turns."""
    found: dict[bool, Slice] = {}
    for traced in (False, True) if number % 2 else (True, False):
        with listening() if traced else nullcontext():
            found[traced] = load()
    return found[False], found[True]


def _print(found: dict[str, list[Pair]]) -> None:
    print("Shares of the traffic without a trace, by wall time and by processor time:\n")
    print(
        "| a trace of | throughput | new connections | bytes a processor | connections likewise |"
    )
    print("|---|---|---|---|---|")
    for name, pairs in found.items():
        wall = [_ratio(pairs, kind) for kind in _KINDS]
        busy = [_ratio(pairs, f"{kind}'s processor") for kind in _KINDS]
        print(f"| {name} | {' | '.join(map(str, wall + busy))} |")


def _keeps(found: dict[str, list[Pair]]) -> bool:
    """Return True if traffic beside traces of another address keeps its pace, surely."""
    beside = (pairs for name, pairs in found.items() if name.startswith("another"))
    return all(_ratio(pairs, kind).low >= LIMIT for pairs in beside for kind in _KINDS)


def _ratio(pairs: list[Pair], kind: str) -> Ratio:
    shares = [without[kind] / traced[kind] for without, traced in pairs]
    return ratio_of([shares[at : at + _GROUP] for at in range(0, len(shares), _GROUP)])


def _make_node() -> None:
    """Make a node of this namespace, with a bridge and two Pods."""
    _ip("link", "add", "br0", "type", "bridge")
    _ip("addr", "add", "10.244.0.1/24", "dev", "br0")
    _ip("link", "set", "br0", "up")
    for name, address in _PODS.items():
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", "br0", "up")
        _ip("link", "set", name, "type", "bridge_slave", "isolated", "on")  # they meet in the node
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "addr", "add", f"{address}/32", "dev", "eth0")
        _ip("-n", name, "route", "add", "10.244.0.1", "dev", "eth0")
        _ip("-n", name, "route", "add", "default", "via", "10.244.0.1")
        words = [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", name]]
        cached = {"kind": "cniCacheV1", "netns": f"/run/netns/{name}", "cniArgs": words}
        Path("/var/lib/cni/results", name).write_text(json.dumps(cached))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    subprocess.run(["nft", "-f", "-"], input=_RULES, text=True, check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def _loads() -> Iterator[Callable[[], Slice]]:
    """Start both Pods' processes; yield what asks for a slice."""
    with ExitStack() as undo:
        server = undo.enter_context(_process("server", "serve"))
        undo.callback(server.kill)
        client = undo.enter_context(_process("client", "call", server.stdout.readline().strip()))
        undo.callback(client.kill)

        def ask() -> Slice:
            client.stdin.write("\n")
            client.stdin.flush()
            found: Slice = json.loads(client.stdout.readline())
            return found

        yield ask


def _process(pod: str, *words: str) -> Any:
    argv = ["ip", "netns", "exec", pod, sys.executable, "-P", "-m", "bench.trace_load", *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(argv, **pipes, text=True, cwd=_ROOT)  # type: ignore[call-overload]


@contextmanager
def _traced() -> Iterator[None]:
    """Run the command on the server's address, as soon as it listens."""
    argv = [sys.executable, "-P", "-m", "lab.main", "trace", "--here", "--live", f"host {SERVER}"]
    out, err = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(argv, cwd=_ROOT, stdout=out, stderr=err, text=True) as trace:
        assert trace.stderr is not None
        while "listening" not in (said := trace.stderr.readline()):
            if not said:
                raise SystemExit("podwire trace has ended")
        try:
            yield
        finally:
            trace.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
