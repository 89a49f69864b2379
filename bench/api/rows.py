"""What users of the API server wait for, over each store, beside a peer.

    bin/bench api [--rounds 3] [--stores sqlite,etcd] [--write]
    bin/bench api --peer https://127.0.0.1:6443 --kubeconfig FILE [--peer-command 'CMD']

In each round every server is started anew and asked the same, one after the other, on the same
processors. ``--peer-command`` starts the peer, in the foreground, with an empty store; without it
the peer has to run, and its start and memory are not measured. Fails if a wanted ratio is surely
missed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import page
from bench.api import fairness
from bench.api.clients import Request, asking, watching
from bench.api.requests import pod
from bench.api.servers import STORES, Peer, Server, Start, ours
from bench.ratios import paired
from bench.versus import in_turn

_COMMAND = "bin/bench api --write"
_PROCESSES, _CONNECTIONS = 2, 20
_LISTED, _PODS, _PAIRS, _READS = 5000, 10_000, 1000, 4000
_WATCHERS, _EVENTS, _EVERY = 1000, 100, 0.1
_SETTLED = 3.0
_HOME = "/api/v1/namespaces/default"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of each server: its unit, what is wanted of it, and how it is read.

    ``ratio`` is the most (``less`` is better) or the least of ours by the peer's, by store, and
    ``most`` a limit of its own.
    """

    name: str
    unit: str
    less: bool = True
    ratio: dict[str, float] | None = None
    most: float = 0.0


START = Row("start until serving", "s", most=0.4)
IDLE = Row("memory, idle", "MB")
CREATE = Row("Pods created", "a second", less=False)
PAIRS = Row("Services with an EndpointSlice created", "a second", False, {"sqlite": 8, "etcd": 2})
GET = Row("Pods read", "a second", less=False)
LIST = Row("list of 5,000 Pods", "ms", ratio={"sqlite": 1 / 6, "etcd": 1 / 6})
WATCH = Row("10 events a second to 1,000 watchers, p99", "ms", most=150.0)
FULL = Row("memory with 10,000 Pods", "MB", ratio={"sqlite": 0.2, "etcd": 0.2})
CLIENT = Row("the busiest client's share of a processor", "", less=True)
ROWS = (START, IDLE, CREATE, PAIRS, GET, LIST, WATCH, FULL, CLIENT)
Figures = dict[str, float]  # by the name of a row


def measure(server: Server) -> Figures:
    """Ask one server everything."""
    found: Figures = {START.name: server.started}
    time.sleep(_SETTLED)
    found[IDLE.name] = server.memory()
    busiest = [_create(server, found)]
    busiest.append(_read(server, found))
    _watch(server, found)
    _fill(server, _PODS - _LISTED, _LISTED)
    time.sleep(_SETTLED)
    found[FULL.name] = server.memory()
    return found | {CLIENT.name: max(busiest)}


def _create(server: Server, found: Figures) -> float:
    pairs = [request for number in range(_PAIRS) for request in _pair(number)]
    seen = asking(server.reach, pairs, _PROCESSES, _CONNECTIONS).run()
    found[PAIRS.name] = _PAIRS / seen.wall
    seen_pods = _fill(server, _LISTED)
    found[CREATE.name] = _LISTED / seen_pods
    return seen.busiest


def _fill(server: Server, number: int, first: int = 0) -> float:
    made = [
        ("POST", f"{_HOME}/pods", json.dumps(_pod(f"p{each}")))
        for each in range(first, first + number)
    ]
    return asking(server.reach, made, _PROCESSES, _CONNECTIONS).run().wall


def _pod(name: str) -> dict[str, object]:
    made = pod(name)
    made["spec"]["automountServiceAccountToken"] = False
    return made


def _pair(number: int) -> tuple[Request, Request]:
    name, ports = f"s{number}", [{"name": "http", "port": 80, "protocol": "TCP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }
    endpoints = [{"addresses": [f"10.0.{number // 250}.{number % 250 + 1}"]}]
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }
    return (
        ("POST", f"{_HOME}/services", json.dumps(service)),
        ("POST", _SLICES, json.dumps(piece)),
    )


def _read(server: Server, found: Figures) -> float:
    reads = [("GET", f"{_HOME}/pods/p{number % _LISTED}", "") for number in range(_READS)]
    seen = asking(server.reach, reads, _PROCESSES, _CONNECTIONS).run()
    found[GET.name] = _READS / seen.wall
    lists = [("GET", f"{_HOME}/pods", "")] * 11
    found[LIST.name] = statistics.median(asking(server.reach, lists, 1, 1).run().each) * 1e3
    return seen.busiest


def _watch(server: Server, found: Figures) -> None:
    """Write a ConfigMap ten times a second, beside watchers that see how old each event is."""
    path = f"{_HOME}/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bench"}}
    made = json.loads(server.ask("POST", path, json.dumps(body)))
    since = f"{path}?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    clients = watching(server.reach, since, _EVENTS, _PROCESSES, _WATCHERS)
    clients.begin()
    for number in range(_EVENTS):
        due = time.monotonic() + _EVERY
        server.ask("PUT", f"{path}/bench", json.dumps(body | {"data": _now(number)}))
        time.sleep(max(0.0, due - time.monotonic()))
    found[WATCH.name] = clients.end().percentile(0.99) * 1e3


def _now(number: int) -> dict[str, str]:
    return {"number": str(number), "sent": f"{time.time():.6f}"}


class Rounds:
    """The figures of each server, a row a round."""

    def __init__(self, starts: dict[str, Start]) -> None:
        self._starts = starts
        self.found: dict[str, list[Figures]] = {name: [] for name in starts}

    def run(self, number: int) -> None:
        """Measure every server once, each started anew."""
        for name in in_turn([*self._starts], number):
            _progress(f"round {number + 1}: {name}")
            with (
                tempfile.TemporaryDirectory() as folder,
                self._starts[name](Path(folder)) as server,
            ):
                self.found[name].append(measure(server))
        _progress("")

    def values(self, name: str, row: Row) -> list[float]:
        """Return a row's figures of one server; those that are not known are left out."""
        return [figures[row.name] for figures in self.found[name] if figures[row.name]]


def report(rounds: Rounds) -> str:
    """Return the table of docs/figures.md."""
    names = [*rounds.found]
    others = [name for name in names if name != "peer"] if "peer" in names else []
    head = ["", *names, *(f"{name} by peer" for name in others)]
    lines = []
    for row in ROWS:
        cells = [_cell(rounds.values(name, row), row) for name in names]
        lines.append([row.name, *cells, *(_ratio(rounds, name, row) for name in others)])
    return page.table(head, lines)


def _cell(values: Sequence[float], row: Row) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    digits = 0 if middle >= 20 else 2
    return f"{middle:,.{digits}f} {row.unit}".strip()


def _ratio(rounds: Rounds, name: str, row: Row) -> str:
    pair = rounds.values(name, row), rounds.values("peer", row)
    return str(paired(*pair)) if row is not CLIENT and all(pair) else ""


def verdict(rounds: Rounds) -> int:
    """Print what is wanted beside what is; return how much is surely missed."""
    broken = 0
    for name in rounds.found:
        store = name.rpartition(" ")[2]
        for row in ROWS if name != "peer" else ():
            values = rounds.values(name, row)
            theirs = rounds.values("peer", row) if "peer" in rounds.found else []
            if row.most:
                broken += _told(f"{name}: {row.name}", statistics.median(values), row.most)
            if row.ratio and theirs:
                found, wanted = paired(values, theirs), row.ratio[store]
                less = found.value if row.less else 1 / found.value
                broken += _told(
                    f"{name} by peer: {row.name} ({found})",
                    less,
                    wanted if row.less else 1 / wanted,
                )
    return broken


def _told(what: str, value: float, most: float) -> bool:
    print(f"  {'kept' if value <= most else 'MISSED':6}  {value:.3f} (at most {most:.3f})  {what}")
    return value > most


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and fail where a wanted figure is missed."""
    options = _options()
    starts: dict[str, Start] = {f"podwire, {it}": partial(ours, it) for it in options.stores}
    if options.peer:
        starts["peer"] = Peer(options.peer, options.kubeconfig, options.peer_command).served
    rounds = Rounds(starts)
    for number in range(options.rounds):
        rounds.run(number)
    micros = fairness.measure() * 1e6
    cost = f"To find a request's flow, and a free seat for it, takes {micros:.1f} us."
    text = f"{report(rounds)}\n{cost}\n"
    print(text)
    missed = verdict(rounds)
    if options.write:
        told = f"{page.conditions(*_peers(options))}\n{page.loads(os.getloadavg()[:1])}"
        page.write(_COMMAND, f"{told}\n\n{text}")
    sys.exit(bool(missed))


def _peers(options: argparse.Namespace) -> tuple[str, ...]:
    return (f"peer {options.peer_name}",) if options.peer else ()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench api", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stores", type=_stores, default=list(STORES), metavar="STORE,...")
    parser.add_argument("--peer", metavar="URL", help="a kube-apiserver")
    parser.add_argument("--kubeconfig", type=Path, help="whose credentials the peer takes")
    parser.add_argument("--peer-command", default="", help="starts it, with an empty store")
    parser.add_argument("--peer-name", default="kube-apiserver", help="what the page calls it")
    parser.add_argument("--against", metavar="CHECKOUT", help="see bin/bench api --against X -h")
    parser.add_argument("--write", action="store_true", help="write docs/figures.md")
    options = parser.parse_args()
    if bool(options.peer) != bool(options.kubeconfig):
        parser.error("--peer and --kubeconfig belong together")
    return options


def _stores(text: str) -> list[str]:
    found = text.split(",")
    if unknown := set(found) - {*STORES}:
        raise argparse.ArgumentTypeError(f"no store {', '.join(unknown)}: have {', '.join(STORES)}")
    return found
