"""ADD and DEL of podwire-cni against Debian's containernetworking-plugins, in the same run.

    bin/bench cni [--rounds N] [--parallel N]
    bin/bench cni --against CHECKOUT      also beside another checkout of podwire, in turns
    bin/bench cni --write                 also write the figures to docs/figures.md

Everything runs in namespaces of its own. Within each round all subjects take their turn in all
scenarios, so that what else the machine does meets them alike; believe the ratios, which are
medians of the rounds' own, not the times. Plugins run on one CPU, servers on another; many calls
at once have both.

"No server" leaves none behind (PODWIRE_CNI_LINGER=0). "First call" leaves one, as calls do where
nothing is said; "second call" is done by it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from bench import cni_plugins, cni_report
from bench.charts import bar
from bench.cni_scenarios import DATA, REFERENCE, Sample, Scenario, Subject, scenarios
from bench.cpus import OURS, apart, pin
from bench.ratios import Ratio, paired
from bench.sealed import is_sealed, seal
from bench.versus import Comparison, Tree, in_turn, trees
from bench.versus import judge as judge_trees

_FOLDERS = (
    "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount -t tmpfs tmpfs /var/lib &&"
    " ip link set lo up"
)
_SETTLE = 0.03  # seconds in which the kernel frees what was removed: nobody pays for another


# The most that we allow ourselves, as a share of the reference's wall time.
LIMITS = {
    ("one", "no server", "ADD"): 2.8,
    ("one", "first call", "ADD"): 2.8,
    ("one", "second call", "ADD"): 0.6,
    ("dual stack, masquerade", "no server", "ADD"): 0.8,
    ("dual stack, masquerade", "first call", "ADD"): 0.8,
    ("dual stack, masquerade", "second call", "ADD"): 0.6,
    ("one", "C client", "ADD"): 0.5,
    ("one", "Python client", "ADD"): 1.0,
    ("one", "C client", "DEL"): 0.8,
    ("one", "Python client", "DEL"): 0.8,
    ("at once", "C client", "ADD"): 0.6,
    ("at once", "C client", "DEL"): 0.8,
    ("dual stack, masquerade, 2 ports", "C client", "ADD"): 0.25,
    ("dual stack, masquerade, 2 ports", "Python client", "ADD"): 0.25,
}


def execute(subject: Subject, verb: str, document: dict[str, Any], number: int) -> None:
    """One attachment's call of every plugin of the chain; DEL in the opposite order."""
    environment = {
        "PATH": os.environ["PATH"],
        "PODWIRE_CNI_SOCKET": subject.socket,
        "PODWIRE_CNI_LINGER": "60" if subject.call else "0",
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"c{number}",
        "CNI_NETNS": f"/run/netns/p{number}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(REFERENCE),
    }
    plugins = subject.chain(document)
    previous: dict[str, Any] = {}
    for program, part in plugins if verb == "ADD" else reversed(plugins):
        stdin = json.dumps(part | previous).encode()
        done = subprocess.run(
            [program], input=stdin, env=environment, capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{subject.label} {verb}: {done.stdout!r} {done.stderr!r}")
        if verb == "ADD":
            previous = {"prevResult": json.loads(done.stdout)}


def spent(servers: Iterable[int]) -> float:
    """CPU seconds of all children, and of the servers."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    clocks = [~server << 3 | _CPUCLOCK_SCHED for server in servers]  # clock_getcpuclockid(3)
    return children.ru_utime + children.ru_stime + sum(map(time.clock_gettime, clocks))


def measure(scenario: Scenario, subject: Subject, servers: Sequence[int]) -> None:
    """One round of one subject: ADD of all, then DEL of all."""
    document = scenario.conf(f"{subject.label}-{scenario.title}".translate(_PLAIN))
    with ThreadPoolExecutor(scenario.parallel) as pool, _calls_before(subject, document):
        for verb in ("ADD", "DEL"):
            cpu, begin = spent(servers), time.perf_counter()
            list(
                pool.map(
                    lambda number, verb=verb: execute(subject, verb, document, number),
                    range(scenario.parallel),
                )
            )
            wall, cpu = time.perf_counter() - begin, spent(servers) - cpu
            samples = scenario.samples.setdefault((subject.label, verb), [])
            samples.append(Sample(wall * 1e3, cpu * 1e3))
            if subject.call:
                cni_plugins.await_left_server(subject.socket)
            time.sleep(_SETTLE)


@contextmanager
def _calls_before(subject: Subject, document: dict[str, Any]) -> Iterator[None]:
    """Do the first call where the second is measured; at the end end the server that is left."""
    if subject.call == 2:
        for verb in ("ADD", "DEL"):
            execute(subject, verb, document, 0)
            cni_plugins.await_left_server(subject.socket)
        time.sleep(_SETTLE)
    try:
        yield
    finally:
        if subject.call:
            cni_plugins.end_left_server(subject.socket)
            time.sleep(_SETTLE)


_CPUCLOCK_SCHED = 2
_PLAIN = str.maketrans(" ,", "--")


def reserve(scenario: Scenario, subject: Subject) -> None:
    """Fill a network's directory as host-local would have."""
    name = f"{subject.label}-{scenario.title}".translate(_PLAIN)
    folder = Path(DATA) / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(scenario.reservations):
        address = f"10.1.{(number + 2) >> 8}.{(number + 2) & 255}"
        (folder / address).write_bytes(f"held{number}\r\neth0".encode())
    if scenario.reservations:
        (folder / "last_reserved_ip.0").write_text(address)


def report(scenario: Scenario) -> None:
    """Print medians, ratios to the reference, CPU time, and bars."""
    print(f"\n{scenario.title}")
    for verb in ("ADD", "DEL"):
        longest = max(median(scenario.walls(item, verb)) for item in scenario.subjects)
        for item in scenario.subjects:
            wall = median(scenario.walls(item, verb))
            print(
                f"  {verb} {item.label:19} {wall:8.1f} ms  x{scenario.ratio(item, verb)}"
                f"  cpu {median(scenario.cpus(item, verb)):7.1f} ms  {bar(wall, longest)}"
            )


def judge(done: list[Scenario]) -> None:
    """Print each limit beside what was measured."""
    print("\nlimits, as shares of the reference")
    for scenario in done:
        for (title, name, verb), limit in LIMITS.items():
            if scenario.title.endswith(title):
                share = scenario.ratio(scenario.subject(name), verb)
                say(f"{scenario.title}: {verb}, {name}", share, limit)
    none, many = (next(item for item in done if item.title == title) for title in _FEW_AND_MANY)
    client = none.subject("C client")
    share = paired(many.walls(client, "ADD"), none.walls(client, "ADD"))
    say(f"{client.name}, ADD with {many.title}, as a share of ADD with none", share, 1.2)


def figures(done: Iterable[Scenario]) -> list[cni_report.Figure]:
    """All wall times, for the page."""
    return [
        cni_report.Figure(
            scenario.title,
            verb,
            subject.label,
            median(scenario.walls(subject, verb)),
            scenario.ratio(subject, verb),
        )
        for scenario in done
        for verb in ("ADD", "DEL")
        for subject in scenario.subjects
    ]


def compare(done: Iterable[Scenario]) -> Iterable[Comparison]:
    """Each client of this checkout beside the same of the other one."""
    for scenario in done:
        for ours, theirs in product(scenario.subjects, repeat=2):
            if (ours.tree, theirs.tree) == ("this", "other") and ours.name == theirs.name:
                yield from _compare(scenario, ours, theirs)


def _compare(scenario: Scenario, ours: Subject, theirs: Subject) -> Iterable[Comparison]:
    for verb in ("ADD", "DEL"):
        title = f"{scenario.title}: {verb}, {ours.name}"
        walls, cpus = (
            paired(times(ours, verb), times(theirs, verb))
            for times in (scenario.walls, scenario.cpus)
        )
        yield Comparison(title, walls)
        yield Comparison(f"{title}, CPU time", cpus)


_FEW_AND_MANY = ("one", "20,000 reservations")


def say(what: str, share: Ratio, limit: float) -> None:
    """Print a limit beside what was measured."""
    print(f"  {'kept  ' if share.value <= limit else 'BROKEN'}  {share} of {limit:4.2f}  {what}")


def run(together: Sequence[Scenario], rounds: int, servers: Sequence[int]) -> None:
    """All subjects of all scenarios in turn, round after round; the first warms up."""
    turns = [(scenario, subject) for scenario in together for subject in scenario.subjects]
    for scenario, subject in turns:
        reserve(scenario, subject)
        measure(scenario, subject, servers)
    for scenario in together:
        scenario.samples.clear()
    for number in range(rounds):
        for scenario, subject in in_turn(turns, number):
            measure(scenario, subject, servers)


def parse() -> argparse.Namespace:
    """The command line."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="bin/bench cni", description=description)
    add = parser.add_argument
    add("--rounds", type=int, help="default: 11; beside a checkout 41")
    add("--parallel", type=int, default=50)
    add("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout of podwire")
    add("--write", action="store_true", help="write the figures to docs/figures.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (41 if options.against else 11)
    return options


def measure_all(measured: Sequence[Tree], options: argparse.Namespace) -> list[Scenario]:
    """Measure every scenario."""
    for number in range(options.parallel):
        subprocess.run(["ip", "netns", "add", f"p{number}"], check=True)
    done = scenarios(measured, options.parallel)
    with ExitStack() as stack:
        for tree in measured:
            cni_plugins.install(tree)
        servers = [stack.enter_context(cni_plugins.served(tree)) for tree in measured]
        plugins, served = apart()
        pin([os.getpid()], plugins)
        pin(servers, served)
        run([item for item in done if item.parallel == 1], options.rounds, servers)
        pin([os.getpid(), *servers], OURS)
        run([item for item in done if item.parallel > 1], options.rounds // 3 + 1, servers)
    return done


def main() -> int:
    """Measure and show; returns the exit status, 1 if this checkout is slower than the other."""
    options = parse()
    measured = trees(options.against)
    if not is_sealed():
        for other in measured[1:]:
            other.set_up()
    package = seal(_FOLDERS, cni_report.reference())
    done = measure_all(measured, options)
    conditions = cni_report.Conditions(options.rounds, package, os.getloadavg()[1])
    print(conditions)
    for scenario in done:
        report(scenario)
    judge(done)
    comparisons = list(compare(done))
    if options.write and comparisons:
        cni_report.write_comparison(comparisons, measured[1], conditions)
    elif options.write:
        cni_report.write(figures(done), conditions)
    return 1 if comparisons and judge_trees(comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
