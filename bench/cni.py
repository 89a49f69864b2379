"""ADD and DEL of podwire-cni against Debian's containernetworking-plugins, in the same run.

    bin/bench cni [--rounds N] [--parallel N]

Everything runs in namespaces of its own. The subjects take turns within each round, so that what
else the machine does meets them alike; believe the ratios, not the times.
"""

from __future__ import annotations

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

from bench.common import bar, seal  # noqa: E402

REFERENCE = Path("/usr/lib/cni")
SOCKET, DATA = "/run/podwire-bench/cni.sock", "/run/podwire-bench/networks"
_FOLDERS = (
    "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount -t tmpfs tmpfs /var/lib &&"
    " ip link set lo up"
)
_RANGES = {4: "10.1.0.0/16", 6: "fd00:1::/64"}


@dataclass(frozen=True)
class Subject:
    """Somebody's plugins: the chain's programs, and whether they are the reference's."""

    name: str
    program: Path | None = None

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


SUBJECTS = (
    Subject("C client", ROOT / "build/podwire-cni"),
    Subject("Python client", ROOT / "bin/podwire-cni"),
    Subject("reference"),
)


@dataclass
class Scenario:
    """What is asked, by its title; the configuration depends on the subject's place."""

    title: str
    conf: Callable[[str], dict[str, Any]]
    reservations: int = 0
    parallel: int = 1
    times: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cpu: dict[tuple[str, str], list[float]] = field(default_factory=dict)


def conf(place: str, *, ipv6: bool = False, **more: Any) -> dict[str, Any]:
    """The network of one subject in one scenario, with its own bridge and its own files."""
    subnets = [_RANGES[4]] + ([_RANGES[6]] if ipv6 else [])
    return {
        "cniVersion": "1.0.0", "name": place, "bridge": f"b{abs(hash(place)) % 10**10}",
        "isGateway": True, "isDefaultGateway": True,
        "ipam": {"type": "host-local", "dataDir": DATA,
                 "ranges": [[{"subnet": subnet}] for subnet in subnets]},
    } | more  # fmt: skip


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
        "PATH": os.environ["PATH"], "PODWIRE_CNI_SOCKET": SOCKET, "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"c{number}", "CNI_NETNS": f"/run/netns/p{number}",
        "CNI_IFNAME": "eth0", "CNI_PATH": str(REFERENCE),
    }  # fmt: skip
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
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return children.ru_utime + children.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


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
            key = (subject.name, verb)
            scenario.times.setdefault(key, []).append((time.perf_counter() - begin) * 1e3)
            scenario.cpu.setdefault(key, []).append((spent(server) - cpu) * 1e3)


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
        peer = median(scenario.times["reference", verb])
        longest = max(median(scenario.times[item.name, verb]) for item in SUBJECTS)
        for item in SUBJECTS:
            wall = median(scenario.times[item.name, verb])
            cpu = sum(scenario.cpu[item.name, verb]) / len(scenario.cpu[item.name, verb])
            print(
                f"  {verb} {item.name:14} {wall:8.1f} ms  x{wall / peer:4.2f}"
                f"  cpu {cpu:7.1f} ms  {bar(wall, longest)}"
            )


@contextmanager
def served() -> Iterator[int]:
    """A warm server; its process number."""
    argv = [sys.executable, "-c", "from cni_plugin.cli import main; main()", "serve"]
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
    with served() as server:
        for scenario in scenarios(options.parallel):
            for subject in SUBJECTS:
                reserve(scenario, subject)
                measure(scenario, subject, server)  # warms up
            scenario.times.clear()
            scenario.cpu.clear()
            for _ in range(options.rounds if scenario.parallel == 1 else options.rounds // 3 + 1):
                for subject in SUBJECTS:
                    measure(scenario, subject, server)
            report(scenario)


if __name__ == "__main__":
    main()
