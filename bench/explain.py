"""How long an explanation takes on a node with many Services, beside ``nft list ruleset``.

    bin/bench explain [--services 10000] [--rounds 7] [--shape kube-proxy flat]

Two shapes of rules: kube-proxy's (a chain and an anonymous map for each Service) and podwire's own
(flat maps). In each round the whole command line of both runs, in turns, on a namespace with a Pod.
Fails over 0.3 times in any shape. All runs in namespaces of its own. Believe the ratios.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench.sealed import seal

LIMIT = 0.3
_PREPARE = (
    "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t tmpfs tmpfs /var/lib; "
    "mkdir -p /var/lib/cni/results; ip link set lo up"
)
_CACHED = {
    "kind": "cniCacheV1",
    "netns": "/run/netns/pod",
    "cniArgs": [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "client"]],
}
_ROOT = Path(__file__).parent.parent
_HEAD = """table ip proxy {
  map services { type ipv4_addr . inet_proto . inet_service : verdict; }
%s
  chain pre {
    type nat hook prerouting priority -100;
    ip daddr . meta l4proto . th dport vmap @services;
  }
  chain post { type nat hook postrouting priority 100; }
}
"""


def address(number: int, part: int) -> str:
    """Return an address of a Service (96) or of an endpoint (244)."""
    return f"10.{part}.{number >> 8 & 0xFF}.{number & 0xFF}"


def kube_proxy(services: int) -> Iterator[str]:
    """Yield transactions: some Services at once, as the kernel searches a transaction's sets."""
    yield _HEAD % ""
    for start in range(0, services, 500):
        lines = []
        for number in range(start, min(start + 500, services)):
            end = address(number, 244)
            lines += [
                f"add chain ip proxy e{number}",
                f"add rule ip proxy e{number} meta l4proto tcp dnat ip to {end}:8080",
                f"add chain ip proxy s{number}",
                f"add rule ip proxy s{number} numgen random mod 2 vmap "
                f"{{ 0 : goto e{number}, 1 : goto e{number} }}",
                f"add element ip proxy services {{ {address(number, 96)} . tcp . 80 "
                f'comment "default/service-{number}" : goto s{number} }}',
            ]
        yield "\n".join(lines)


def flat(services: int) -> Iterator[str]:
    """Yield transactions with one chain, and a map that has each Service's two endpoints."""
    yield _HEAD % (
        "map ends { typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : "
        "ip daddr . th dport; }\n  chain pick { dnat ip to ip daddr . meta l4proto . th dport . "
        "numgen random mod 2 map @ends; }"
    )
    for start in range(0, services, 2000):
        numbers = range(start, min(start + 2000, services))
        keys = [(address(number, 96), number) for number in numbers]
        served = ", ".join(
            f'{key} . tcp . 80 comment "default/service-{number}" : goto pick'
            for key, number in keys
        )
        ends = ", ".join(
            f"{key} . tcp . 80 . {one} : {address(number, 244)} . 8080"
            for key, number in keys
            for one in (0, 1)
        )
        yield f"add element ip proxy services {{ {served} }}"
        yield f"add element ip proxy ends {{ {ends} }}"


SHAPES: dict[str, Callable[[int], Iterator[str]]] = {"kube-proxy": kube_proxy, "flat": flat}


def main() -> None:
    """Run the benchmark, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=[*SHAPES])
    asked = parser.parse_args()
    seal(_PREPARE)
    _node()
    print(
        "| rules | Services | nft list ruleset | podwire explain | ratio |\n|---|---|---|---|---|"
    )
    slow = [shape for shape in asked.shape if not _row(shape, asked.services, asked.rounds)]
    if slow:
        sys.exit(f"over {LIMIT} times: {', '.join(slow)}")


def _node() -> None:
    """Make a Pod's namespace beside this one, which is the node's, with an endpoint in it."""
    _ip("netns", "add", "pod")
    _ip("link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", "pod")
    _ip("addr", "add", "10.244.255.1/16", "dev", "pod0")
    _ip("link", "set", "pod0", "up")
    for words in (
        "link set eth0 up",
        f"addr add {address(0, 244)}/16 dev eth0",
        "route add default via 10.244.255.1",
    ):
        _ip("-n", "pod", *words.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/var/lib/cni/results/client").write_text(json.dumps(_CACHED))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _row(shape: str, services: int, rounds: int) -> bool:
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    for text in SHAPES[shape](services):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    listing, explaining = [], []
    for _ in range(rounds):
        listing.append(_timed("nft", "list", "ruleset"))
        explaining.append(_timed(*_explain(services // 2)))
    ratio = median(explaining) / median(listing)
    print(
        f"| {shape} | {services} | {median(listing):.2f} s | {median(explaining):.2f} s "
        f"| {ratio:.2f} |",
        flush=True,
    )
    return ratio <= LIMIT


def _explain(number: int) -> list[str]:
    words = f"explain --here client {address(number, 96)}:80 -o json"
    return [sys.executable, "-P", "-m", "lab.main", *words.split()]


def _timed(*argv: str) -> float:
    before = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=False, cwd=_ROOT)
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
