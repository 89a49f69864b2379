"""What a trace costs the traffic beside it: throughput, and new connections.

    bin/bench trace [--rounds 7]

Two Pods talk over a node, without a trace and with `podwire trace --live`, in turns in each round:
with a trace of another address, and of theirs. Fails if the first leaves less than 0.95 of either.
All runs in namespaces of its own. Believe the ratios.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from statistics import median

from bench.cpus import apart
from bench.proxy_node import answer, connect_pairs, swallow, transfer_pairs
from bench.ratios import paired
from bench.sealed import seal

LIMIT = 0.95
_ROOT = Path(__file__).parent.parent
_PREPARE = (
    "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t tmpfs tmpfs /var/lib; "
    "mkdir -p /var/lib/cni/results; ip link set lo up"
)
_PODS = {"client": "10.244.0.2", "server": "10.244.0.3"}
_STRANGER = "10.244.0.9"
_BULK, _NEW = 7001, 7002  # ports
_SIZE, _TIMES = 1 << 28, 4  # bytes of a transfer, and pairs of transfers
_CONNECTIONS = 1500  # pairs
_RULES = """table ip node {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ip daddr 10.244.0.0/24 accept
  }
}
"""
_TRACES = {"another address": _STRANGER, "this address": _PODS["server"]}


def main() -> None:
    """Run the benchmark, and print its table."""
    if sys.argv[1:] == ["serve"]:
        return _serve()
    if sys.argv[1:] == ["load"]:
        return print(json.dumps(_load()))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    seal(_PREPARE)
    _make_node()
    with _served():
        found = [_round() for _ in range(rounds)]
    return _print(found)


Loads = dict[str, tuple[float, float]]  # trace -> seconds of a transfer, of a connection


def _round() -> Loads:
    found: Loads = {}
    for trace in ("", *_TRACES):
        with _traced(_TRACES[trace]) if trace else nullcontext():
            done = subprocess.run(_in("client", "load"), check=True, capture_output=True, cwd=_ROOT)
        bulk, new = json.loads(done.stdout)
        found[trace] = bulk, new
    return found


def _print(found: list[Loads]) -> None:
    print("| a trace of | throughput, as a share of that without | new connections, likewise |")
    print("|---|---|---|")
    kept = True
    for trace in _TRACES:
        shares = [
            paired([one[""][which] for one in found], [one[trace][which] for one in found])
            for which in (0, 1)
        ]
        print(f"| {trace} | {shares[0]} | {shares[1]} |")
        kept = kept and (trace != "another address" or min(one.value for one in shares) >= LIMIT)
    if not kept:
        sys.exit(f"less than {LIMIT} of the traffic without a trace")


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


def _in(pod: str, act: str) -> list[str]:
    return ["ip", "netns", "exec", pod, sys.executable, "-P", "-m", "bench.trace", act]


@contextmanager
def _served() -> Iterator[None]:
    argv = _in("server", "serve")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


@contextmanager
def _traced(address: str) -> Iterator[None]:
    """Trace an address in the node and in both Pods, as soon as that is listened to."""
    argv = [sys.executable, "-P", "-m", "lab.main", "trace", "--here", "--live", f"host {address}"]
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


def _serve() -> None:
    """Answer, until this process is killed."""
    os.sched_setaffinity(0, apart()[1])
    swallow(_BULK)
    answer(_NEW)
    print("up", flush=True)
    signal.pause()


def _load() -> tuple[float, float]:
    """Return the seconds of a transfer, and of a connection."""
    os.sched_setaffinity(0, apart()[0])
    bulk, new = (_PODS["server"], _BULK), (_PODS["server"], _NEW)
    times = transfer_pairs((bulk, bulk), _TIMES, _SIZE)
    calls = connect_pairs((new, new), _CONNECTIONS)
    return median(chain(*times)), median(chain(*calls))


if __name__ == "__main__":
    main()
