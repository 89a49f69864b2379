"""Names per second on one core, beside Debian's dnsmasq with the same names.

    bin/bench dns [--names 1000] [--seconds 4] [--rounds 3] [--changes 200]

Both serve on one CPU, Debian's dnsperf asks from another, with EDNS, in turns. Then each gets half
of the slower one's rate, for the latency. Fails under 0.7 times dnsmasq's names, or over 2 times
its 99th percentile. podwire counts its metrics meanwhile; dnsmasq has none. Then endpoints change
(``bench/dns_change.py``): fails if the 99th percentile is over 100 ms, or an answer is wrong.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import dns_change
from bench.cpus import apart, pin
from bench.dns_server import address_of
from bench.sealed import seal

LEAST_RATE, MOST_LATENCY = 0.7, 2.0
PORTS = {"dnsmasq": 5398, "podwire": 5399}


@dataclass(frozen=True)
class Run:
    """The queries per second of one run, and the latency's 99th percentile in seconds."""

    rate: float
    latency: float


def servers(folder: Path, names: int) -> dict[str, list[str]]:
    """Return the command lines of both servers."""
    hosts = folder / "hosts"
    rows = (f"{address_of(each)} svc-{each}.default.svc.cluster.local" for each in range(names))
    hosts.write_text("".join(f"{row}\n" for row in rows))
    dnsmasq = ["dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
    dnsmasq += [f"--addn-hosts={hosts}", f"--port={PORTS['dnsmasq']}", "--pid-file="]
    dnsmasq += ["--listen-address=127.0.0.1", "--bind-interfaces", "--edns-packet-max=1232"]
    podwire = [sys.executable, "-P", "-m", "bench.dns_server", str(PORTS["podwire"]), str(names)]
    return {"dnsmasq": dnsmasq, "podwire": podwire}


@contextmanager
def serving(argv: list[str], port: int, queries: Path) -> Iterator[None]:
    """Run a server on its CPU until the context ends; it answers when the context begins."""
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            pin([process.pid], apart()[1])
            for _ in range(100):
                if ask(port, queries, "-n", "1", "-q", "1", "-t", "1"):
                    break
                time.sleep(0.1)
            yield
        finally:
            process.kill()


def ask(port: int, queries: Path, *options: str) -> str:
    """Run dnsperf, and return its output; "" if nothing was answered."""
    argv = ["taskset", "-c", str(min(apart()[0])), "dnsperf", "-s", "127.0.0.1", "-e", "-c", "8"]
    argv += ["-p", str(port), "-d", str(queries), *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if "Queries completed:    0" not in done.stdout else ""


def rate(port: int, queries: Path, seconds: float) -> float:
    """Return the queries per second that a server answers."""
    output = ask(port, queries, "-l", f"{seconds:g}", "-q", "200")
    return float(re.findall(r"Queries per second:\s+([\d.]+)", output)[0])


def latency(port: int, queries: Path, seconds: float, queries_per_second: float) -> float:
    """Return the 99th percentile of the latency at a rate, in seconds."""
    output = ask(port, queries, "-l", f"{seconds:g}", "-Q", f"{queries_per_second:.0f}", "-v")
    found = sorted(float(each) for each in re.findall(r"^> NOERROR .* ([\d.]+)$", output, re.M))
    return found[int(len(found) * 0.99)]


def measure(folder: Path, names: int, seconds: float, rounds: int) -> dict[str, Run]:
    """Measure both servers in turns; the result is the median."""
    queries = folder / "queries"
    rows = (f"svc-{each}.default.svc.cluster.local A\n" for each in range(names))
    queries.write_text("".join(rows))
    commands = servers(folder, names)
    with (
        serving(commands["dnsmasq"], PORTS["dnsmasq"], queries),
        serving(commands["podwire"], PORTS["podwire"], queries),
    ):
        found = _turns(rounds, lambda port: rate(port, queries, seconds))
        rates = {name: statistics.median(each) for name, each in found}
        half = min(rates.values()) / 2
        latencies = dict(_turns(rounds, lambda port: latency(port, queries, seconds, half)))
    return {name: Run(rates[name], statistics.median(latencies[name])) for name in PORTS}


def _turns(rounds: int, run: Callable[[int], float]) -> list[tuple[str, list[float]]]:
    found: dict[str, list[float]] = {name: [] for name in PORTS}
    for _ in range(rounds):
        for name, port in PORTS.items():
            found[name].append(run(port))
    return list(found.items())


def main() -> None:
    """Measure, print, and fail beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=200)
    options = parser.parse_args()
    seal("ip link set lo up")
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(Path(folder), options.names, options.seconds, options.rounds)
        quick = dns_change.measure(Path(folder), options.changes)
    for name, run in runs.items():
        p99 = run.latency * 1e6
        print(f"{name}: {run.rate:,.0f} names a second, p99 {p99:.0f} us at half load")
    faster = runs["podwire"].rate / runs["dnsmasq"].rate
    slower = runs["podwire"].latency / runs["dnsmasq"].latency
    print(f"podwire answers {faster:.2f} times dnsmasq's names, with {slower:.2f} times its p99")
    sys.exit(faster < LEAST_RATE or slower > MOST_LATENCY or not quick)


if __name__ == "__main__":
    main()
