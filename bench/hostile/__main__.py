"""The worst wait of a second client while the API server gets hostile requests.

    bin/bench hostile [--clients 1] [--corpus 2000] [--seed 1] [--seconds N] [--only WORD]
                       [--against CHECKOUT]
    bin/bench hostile --objects 100000

A real server, its store in a file, TLS. Each body of ``bodies`` goes to each route of ``routes``,
then a corpus that is mutated by a seed. A process of its own asks /healthz every 20 ms. It first
asks an idle server: that worst wait is the machine's own. All runs in namespaces of its own.
Fails if a wait is longer than 100 ms. With --objects it is many Pods that are read in each way.
"""

import argparse
import http.client
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from bench.hostile import many
from bench.hostile.asker import client
from bench.hostile.routes import Hostile, objects, requests
from bench.hostile.server import Waits, asking, served
from bench.sealed import seal
from bench.versus import Tree, trees

LIMIT = 0.1  # seconds that a request of at most 3 MiB may keep another waiting
_QUIET_SECONDS = 5.0
_SHOWN = 12
_ANSWER_SECONDS = 90.0


@dataclass
class Sent:
    """What was sent, when, and the answers' codes."""

    spans: list[tuple[float, float, Hostile]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    routes: set[tuple[str, str, str]] = field(default_factory=set)

    def during(self, begin: float, end: float) -> list[Hostile]:
        """Return the requests that were in flight in a span of time."""
        return [what for start, stop, what in self.spans if start < end and stop > begin]


def send_all(waiting: SimpleQueue[Hostile], sent: Sent, port: int, folder: Path) -> None:
    """Send requests one after the other, on one connection as long as the server keeps it."""
    connection = client(port, folder)
    connection.timeout = _ANSWER_SECONDS
    while True:
        try:
            what = waiting.get_nowait()
        except Empty:
            return
        begin = time.monotonic()
        code = _send(connection, what)
        sent.spans.append((begin, time.monotonic(), what))
        sent.codes[code] += 1
        sent.routes.add((what.method, what.path, what.media))


def _send(connection: http.client.HTTPSConnection, what: Hostile) -> int:
    """Return the answer's code; 0 if the server closed the connection before it had the body."""
    try:
        headers = {"Content-Type": what.media}
        connection.request(what.method, what.path, what.body, headers)
        answer = connection.getresponse()
        answer.read()
    except (ConnectionError, http.client.HTTPException):
        connection.close()
        return 0
    return answer.status


def measure(tree: Tree, options: argparse.Namespace) -> float:
    """Measure one checkout; print what was seen, and return the worst wait in seconds."""
    with tempfile.TemporaryDirectory() as made, served(tree, Path(made)) as port:
        folder = Path(made)
        _prepare(port, folder)
        with asking(port, folder) as quiet:
            time.sleep(_QUIET_SECONDS)
        waiting, sent = _chosen(options), Sent()
        with asking(port, folder) as waits:
            senders = [
                threading.Thread(target=send_all, args=(waiting, sent, port, folder))
                for _ in range(options.clients)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(options.seconds)
            while not waiting.empty():  # there was no time for these
                waiting.get()
            for sender in senders:
                sender.join()
        bugs = tracebacks((folder / "server.log").read_text())
    _show(tree, quiet, waits, sent, bugs)
    return max(seconds for _, seconds in waits)


def tracebacks(log: str) -> list[str]:
    """Return the last line of each traceback, which names the error."""
    found = [part.splitlines() for part in log.split("Traceback (most recent call last):")[1:]]
    return [next(filter(_is_unindented, lines), "") for lines in found]


def _is_unindented(line: str) -> bool:
    return bool(line) and not line.startswith(" ")


def measure_many(tree: Tree, count: int) -> float:
    """Measure reads of many objects; print them, and return the worst wait in seconds."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        many.fill(folder / "store.db", count)
        with served(tree, folder) as port:
            _wait_until_ready(port, folder)
            results = many.measure(port, folder)
    print(f"\n{tree.name or 'this checkout'}, {tree.commit}")
    many.show(results, count)
    return max(result.wait for result in results)


def _wait_until_ready(port: int, folder: Path) -> None:
    while _send(client(port, folder), Hostile("GET", "/readyz", "", "", b"")) != 200:
        time.sleep(0.1)


def _chosen(options: argparse.Namespace) -> SimpleQueue[Hostile]:
    """Return the requests in an order that the seed gives."""
    waiting: SimpleQueue[Hostile] = SimpleQueue()
    made = list(requests(options.seed, options.corpus))
    random.Random(options.seed).shuffle(made)  # noqa: S311
    for what in made:
        if options.only in f"{what.method} {what.path} {what.media} {what.name}":
            waiting.put(what)
    return waiting


def _prepare(port: int, folder: Path) -> None:
    """Wait until the server answers, and make the objects that requests change."""
    for what in objects():
        while (code := _send(client(port, folder), what)) in (0, 503):
            time.sleep(0.1)
        if code != 201:
            raise SystemExit(f"bin/bench: {what.method} {what.path}: {code}")


def _show(tree: Tree, quiet: Waits, waits: Waits, sent: Sent, bugs: list[str]) -> None:
    print(f"\n{tree.name or 'this checkout'}, {tree.commit}")
    codes = ", ".join(f"{code or 'closed'}: {count}" for code, count in sorted(sent.codes.items()))
    print(f"  {len(sent.spans)} requests on {len(sent.routes)} routes; answers {codes}")
    print(f"  tracebacks in the log: {len(bugs)}")
    for text in dict.fromkeys(bugs):
        print(f"    {text}")
    for name, found in (("idle", quiet), ("hostile", waits)):
        ordered = sorted(seconds for _, seconds in found)
        shown = (ordered[len(ordered) * share // 1000] for share in (500, 990, 999))
        parts = ", ".join(f"{1000 * each:.1f}" for each in (*shown, ordered[-1]))
        print(f"  {name:8} {len(found)} waits, ms at 50, 99, 99.9 and 100 %: {parts}")
    for begin, seconds in sorted(waits, key=lambda wait: -wait[1])[:_SHOWN]:
        during = sent.during(begin, begin + seconds)
        names = "; ".join(f"{it.method} {it.path} {it.media}: {it.name}" for it in during)
        print(f"    {1000 * seconds:6.1f} ms  {names}")


def main() -> int:
    """Measure; returns 1 if a wait of this checkout was longer than the limit."""
    parser = argparse.ArgumentParser(prog="bin/bench hostile", description=__doc__)
    parser.add_argument("--clients", type=int, default=1, help="that send at a time")
    parser.add_argument("--corpus", type=int, default=2000, help="mutated bodies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="stop then; the order is mixed by the seed")
    parser.add_argument("--only", default="", help="a part of method, path, type or body's name")
    parser.add_argument("--objects", type=int, help="read this many Pods instead")
    parser.add_argument("--against", type=Path, help="another checkout of podwire")
    options = parser.parse_args()
    found = trees(options.against)
    for tree in found[1:]:
        tree.set_up()
    seal("ip link set lo up")
    worst = [
        measure_many(tree, options.objects) if options.objects else measure(tree, options)
        for tree in found
    ]
    return worst[0] > LIMIT


if __name__ == "__main__":
    sys.exit(main())
