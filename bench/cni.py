"""ADD and DEL of podwire-cni against Debian's containernetworking-plugins, in the same run.

    bin/bench cni [--rounds N] [--parallel N]

Everything runs in namespaces of its own. Within each round all subjects take their turn in all
scenarios, so that what else the machine does meets them alike; believe the ratios, which are
medians of the rounds' own, not the times.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.charts import bar  # noqa: E402
from bench.sealed import seal  # noqa: E402
from cni_plugin.admin import standalone  # noqa: E402

REFERENCE = Path("/usr/lib/cni")
PYTHON_CLIENT = Path("/run/podwire-bench/podwire-cni")  # as it would be installed
SOCKET, DATA = "/run/podwire-bench/cni.sock", "/run/podwire-bench/networks"
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
    socket: str = SOCKET

    def chain(self, conf: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        """Which programs a runtime executes for a configuration, each with its part."""
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
SUBJECTS = (
    Subject("C client", ROOT / "build/podwire-cni"),
    Subject("Python client", PYTHON_CLIENT),
    Subject("no server", ROOT / "build/podwire-cni", socket="/nowhere"),
    REFERENCE_SUBJECT,
)

# The most that we allow ourselves, as a share of the reference's wall time.
LIMITS = {
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
    """What is asked, by its title; the configuration depends on the subject's place."""

    title: str
    conf: Callable[[str], dict[str, Any]]
    reservations: int = 0
    parallel: int = 1
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    @property
    def subjects(self) -> list[Subject]:
        """Who takes part: many at once without a server say nothing but how many CPUs there are."""
        return [item for item in SUBJECTS if self.parallel == 1 or item.socket == SOCKET]

    def wall(self, subject: Subject, verb: str) -> float:
        """The median."""
        return median(item.wall for item in self.samples[subject.name, verb])

    def cpu(self, subject: Subject, verb: str) -> float:
        """The median."""
        return median(item.cpu for item in self.samples[subject.name, verb])

    def ratio(self, subject: Subject, verb: str) -> float:
        """The median of the rounds' ratios to the reference."""
        return ratio(self.samples[subject.name, verb], self.samples[REFERENCE_SUBJECT.name, verb])


def ratio(ours: list[Sample], theirs: list[Sample]) -> float:
    """The median of the rounds' ratios of wall times."""
    return median(one.wall / other.wall for one, other in zip(ours, theirs, strict=True))


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


def scenarios(parallel: int) -> list[Scenario]:
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
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"c{number}",
        "CNI_NETNS": f"/run/netns/p{number}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(REFERENCE),
    }
    chain = subject.chain(document)
    previous: dict[str, Any] = {}
    for program, part in chain if verb == "ADD" else reversed(chain):
        stdin = json.dumps(part | previous).encode()
        done = subprocess.run(
            [program], input=stdin, env=environment, capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{subject.name} {verb}: {done.stdout!r} {done.stderr!r}")
        if verb == "ADD":
            previous = {"prevResult": json.loads(done.stdout)}


def spent(server: int) -> float:
    """CPU seconds of all children, and of the server."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = ~server << 3 | _CPUCLOCK_SCHED  # clock_getcpuclockid(3)
    return children.ru_utime + children.ru_stime + time.clock_gettime(clock)


def measure(scenario: Scenario, subject: Subject, server: int) -> None:
    """One round of one subject: ADD of all, then DEL of all."""
    document = scenario.conf(f"{subject.name}-{scenario.title}".translate(_PLAIN))
    with ThreadPoolExecutor(scenario.parallel) as pool:
        for verb in ("ADD", "DEL"):
            cpu, begin = spent(server), time.perf_counter()
            list(
                pool.map(
                    lambda number, verb=verb: execute(subject, verb, document, number),
                    range(scenario.parallel),
                )
            )
            wall, cpu = time.perf_counter() - begin, spent(server) - cpu
            samples = scenario.samples.setdefault((subject.name, verb), [])
            samples.append(Sample(wall * 1e3, cpu * 1e3))
            time.sleep(_SETTLE)


_CPUCLOCK_SCHED = 2
_PLAIN = str.maketrans(" ,", "--")


def reserve(scenario: Scenario, subject: Subject) -> None:
    """Fill a network's directory as host-local would have."""
    name = f"{subject.name}-{scenario.title}".translate(_PLAIN)
    folder = Path(DATA) / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(scenario.reservations):
        address = f"10.1.{(number + 2) >> 8}.{(number + 2) & 255}"
        (folder / address).write_bytes(f"held{number}\r\neth0".encode())
    if scenario.reservations:
        (folder / "last_reserved_ip.0").write_text(address)


def report(scenario: Scenario) -> None:
    """Medians, ratios to the reference, CPU, and bars."""
    print(f"\n{scenario.title}")
    for verb in ("ADD", "DEL"):
        longest = max(scenario.wall(item, verb) for item in scenario.subjects)
        for item in scenario.subjects:
            wall = scenario.wall(item, verb)
            print(
                f"  {verb} {item.name:14} {wall:8.1f} ms  x{scenario.ratio(item, verb):4.2f}"
                f"  cpu {scenario.cpu(item, verb):7.1f} ms  {bar(wall, longest)}"
            )


def judge(done: list[Scenario]) -> None:
    """Each limit beside what was measured."""
    print("\nlimits, as shares of the reference")
    for scenario in done:
        for (title, name, verb), limit in LIMITS.items():
            if scenario.title.endswith(title):
                subject = next(item for item in SUBJECTS if item.name == name)
                say(f"{scenario.title}: {verb}, {name}", scenario.ratio(subject, verb), limit)
    none, many = (next(item for item in done if item.title == title) for title in _FEW_AND_MANY)
    key = (SUBJECTS[0].name, "ADD")
    share = ratio(many.samples[key], none.samples[key])
    say(f"{key[0]}, ADD with {many.title}, as a share of ADD with none", share, 1.2)


_FEW_AND_MANY = ("one", "20,000 reservations")


def say(what: str, share: float, limit: float) -> None:
    print(f"  {'kept  ' if share <= limit else 'BROKEN'}  {share:4.2f} of {limit:4.2f}  {what}")


def run(together: list[Scenario], rounds: int, server: int) -> None:
    """All subjects of all scenarios in turn, round after round; the first is to warm up."""
    turns = [(scenario, subject) for scenario in together for subject in scenario.subjects]
    for scenario, subject in turns:
        reserve(scenario, subject)
        measure(scenario, subject, server)
    for scenario in together:
        scenario.samples.clear()
    for _ in range(rounds):
        for scenario, subject in turns:
            measure(scenario, subject, server)


@contextmanager
def served() -> Iterator[int]:
    """A warm server; its process number."""
    argv = [sys.executable, "-c", "from cni_plugin.admin.cli import main; main()", "serve"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([*argv, "--socket", SOCKET], env=environment)
    while not Path(SOCKET).exists():
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        time.sleep(0.05)
    try:
        yield server.pid
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--parallel", type=int, default=50)
    options = parser.parse_args()
    seal(_FOLDERS)
    for number in range(options.parallel):
        subprocess.run(["ip", "netns", "add", f"p{number}"], check=True)
    standalone.put_python_client(PYTHON_CLIENT)
    done = scenarios(options.parallel)
    with served() as server:
        run([item for item in done if item.parallel == 1], options.rounds, server)
        run([item for item in done if item.parallel > 1], options.rounds // 3 + 1, server)
    print(f"load {' '.join(map('{:.1f}'.format, os.getloadavg()))} on {os.cpu_count()} CPUs")
    for scenario in done:
        report(scenario)
    judge(done)


if __name__ == "__main__":
    main()
