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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from statistics import median
from typing import Any

from bench import cni_plugins, cni_report
from bench.charts import bar
from bench.cpus import OURS, apart, pin
from bench.ratios import Ratio, paired
from bench.sealed import is_sealed, seal
from bench.versus import Comparison, Tree, in_turn, trees
from bench.versus import judge as judge_trees

REFERENCE = Path("/usr/lib/cni")
DATA = "/run/podwire-bench/networks"
_NOWHERE = "/nowhere"
_FOLDERS = (
    "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount -t tmpfs tmpfs /var/lib &&"
    " ip link set lo up"
)
_SETTLE = 0.03  # seconds in which the kernel frees what was removed: nobody pays for another
_RANGES = {4: "10.1.0.0/16", 6: "fd00:1::/64"}


@dataclass(frozen=True)
class Subject:
    """Somebody's plugins: the chain's programs, and whether they are the reference's."""

    name: str
    program: Path | None = None
    socket: str = ""  # of a warm server
    tree: str = ""  # the checkout's name, if there are two
    call: int = 0  # of those that a server is left behind for, if it is one: 1 or 2

    @property
    def label(self) -> str:
        """Its name in a chart."""
        return f"{self.name} {self.tree}".strip()

    def chain(self, conf: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        """The programs that a runtime executes for a configuration, each with its part."""
        if self.program is not None:
            return [(self.program, conf | {"type": "podwire-cni"})]
        interface = conf | {"type": "bridge"}
        if not conf.get("runtimeConfig"):
            return [(REFERENCE / "bridge", interface)]
        interface.pop("runtimeConfig")
        return [
            (REFERENCE / "bridge", interface),
            (REFERENCE / "portmap", conf | {"type": "portmap", "snat": True}),
        ]


REFERENCE_SUBJECT = Subject("reference")


def subjects_of(tree: Tree) -> tuple[Subject, ...]:
    """The ways to call the plugin of a checkout."""
    c_client, python = (cni_plugins.program(tree, client) for client in ("c", "python"))
    served, left = cni_plugins.socket(tree), cni_plugins.socket(tree, "left.sock")
    found = (
        Subject("C client", c_client, served, tree.name),
        Subject("Python client", python, served, tree.name),
        Subject("no server", c_client, _NOWHERE, tree.name),
    )
    if not cni_plugins.leaves_servers(tree):
        return found
    return (
        *found,
        Subject("first call", c_client, left, tree.name, 1),
        Subject("second call", c_client, left, tree.name, 2),
    )


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


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one round."""

    wall: float
    cpu: float


@dataclass
class Scenario:
    """A kind of request; the configuration depends on the subject's place."""

    title: str
    conf: Callable[[str], dict[str, Any]]
    subjects: Sequence[Subject] = ()
    reservations: int = 0
    parallel: int = 1
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def subject(self, name: str) -> Subject:
        """A subject of this checkout by its name."""
        return next(item for item in self.subjects if item.name == name)

    def walls(self, subject: Subject, verb: str) -> list[float]:
        """The milliseconds of each round."""
        return [item.wall for item in self.samples[subject.label, verb]]

    def cpus(self, subject: Subject, verb: str) -> list[float]:
        """The CPU times of each round, milliseconds."""
        return [item.cpu for item in self.samples[subject.label, verb]]

    def ratio(self, subject: Subject, verb: str) -> Ratio:
        """The ratio to the reference, round by round."""
        return paired(self.walls(subject, verb), self.walls(REFERENCE_SUBJECT, verb))


def conf(place: str, *, ipv6: bool = False, **more: Any) -> dict[str, Any]:
    """The network of one subject in one scenario, with its own bridge and its own files."""
    subnets = [_RANGES[4]] + ([_RANGES[6]] if ipv6 else [])
    return {
        "cniVersion": "1.0.0",
        "name": place,
        "bridge": f"b{abs(hash(place)) % 10**10}",
        "isGateway": True,
        "isDefaultGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": DATA,
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
        },
    } | more


def scenarios(measured: Iterable[Tree], parallel: int) -> list[Scenario]:
    """All scenarios, with the subjects that take part in each."""
    subjects = [*chain.from_iterable(map(subjects_of, measured)), REFERENCE_SUBJECT]
    found = _scenarios(parallel)
    for scenario in found:
        scenario.subjects = [item for item in subjects if _takes_part(item, scenario)]
    return found


def _takes_part(subject: Subject, scenario: Scenario) -> bool:
    # Many at once without a server tell nothing but how many CPUs there are.
    alone = subject.socket == _NOWHERE or subject.call
    return not alone or (scenario.parallel == 1 and not (subject.call and scenario.reservations))


def _scenarios(parallel: int) -> list[Scenario]:
    ports = [{"hostPort": 8080 + i, "containerPort": 80, "protocol": "tcp"} for i in range(2)]
    return [
        Scenario("one", conf),
        Scenario("1,000 reservations", conf, reservations=1_000),
        Scenario("20,000 reservations", conf, reservations=20_000),
        Scenario("dual stack, masquerade", lambda place: conf(place, ipv6=True, ipMasq=True)),
        Scenario(
            "dual stack, masquerade, 2 ports",
            lambda place: conf(
                place, ipv6=True, ipMasq=True, runtimeConfig={"portMappings": ports}
            ),
        ),
        Scenario(f"{parallel} at once", conf, parallel=parallel),
    ]


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
