"""The seconds from ``podwire lab node add`` to a node that is Ready, as a user waits for it.

    bin/bench lab [--nodes 3] [--rounds 5]

Makes a lab, adds a node and removes it, round after round, and ends the lab. Fails if the median is
over 1.5 s. The time is that of the whole command: its start, the machine, its parts, and its Node.

Beside other work most of that is waiting for a processor. So each round has a peer: the start of
``podwire lab --help``, one process that waits for nothing else. What the peer takes over its own
processor time is how slow the machine was; the limit holds for the round divided by that, and both
are printed, with the processor time of the command and of all the lab's processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.versus import THIS
from lab.state import lab_dir

MOST_SECONDS = 1.5
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """The seconds that a process took, and those of processors that it used."""

    wall: float
    processor: float

    @property
    def slowness(self) -> float:
        """How many times longer it took than on a processor of its own."""
        return max(1.0, self.wall / self.processor)


@dataclass(frozen=True)
class Round:
    """One node added: the command, the lab's processes meanwhile, and the peers beside it."""

    command: Cost
    lab: float
    slowness: float

    @property
    def fair(self) -> float:
        """The seconds that it would have taken on a machine without other work."""
        return self.command.wall / self.slowness


def podwire(*words: str) -> Cost:
    """Run a podwire command; raises CalledProcessError."""
    argv = [*THIS.podwire, *words]
    began = time.monotonic()
    process = subprocess.Popen(argv, env=THIS.environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def processor_seconds(root: int) -> float:
    """Return what a process, all below it, and those that ended there have used."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(entry.parent.name)
        parents[pid], used[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    return sum(ticks for pid, ticks in used.items() if _is_below(pid, root, parents)) / _TICK


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid != root and pid in parents:
        pid = parents[pid]
    return pid == root


def one_round(name: str, keeper: int) -> Round:
    """Add a node, and remove it."""
    peers = [podwire("lab", "--help").slowness]
    before = processor_seconds(keeper)
    command = podwire("lab", "node", "add", f"--name={name}", "bench")
    used = processor_seconds(keeper) - before
    peers.append(podwire("lab", "--help").slowness)
    podwire("lab", "node", "remove", f"--name={name}", "--force", "bench")
    return Round(command, used, statistics.mean(peers))


def main() -> None:
    """Measure, print, and fail over the limit."""
    parser = argparse.ArgumentParser(prog="bin/bench lab", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3, help="of the lab before")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    name = f"bench{os.getpid()}"
    podwire("lab", "up", f"--name={name}", f"--nodes={options.nodes}", "--no-demo")
    try:
        keeper = lab_dir(name).keeper()
        assert keeper is not None, name
        found = [one_round(name, keeper.pid) for _ in range(options.rounds)]
    finally:
        podwire("lab", "down", f"--name={name}")
    print(f"node add to Ready, {options.rounds} rounds beside {options.nodes} nodes:")
    show("takes", [each.command.wall for each in found])
    show("the peer takes over its processor time", [each.slowness for each in found], "times")
    show("without other work", [each.fair for each in found])
    show("processor time of the command", [each.command.processor for each in found])
    show("processor time of the lab", [each.lab for each in found])
    median = statistics.median(each.fair for each in found)
    if median > MOST_SECONDS:
        sys.exit(f"node add takes {median:.2f} s, more than {MOST_SECONDS} s")


def show(what: str, values: list[float], unit: str = "s") -> None:
    """Print the median and the range of values."""
    median = statistics.median(values)
    print(f"  {what}: {median:.2f} {unit} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
