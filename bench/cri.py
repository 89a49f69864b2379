"""From a Pod's creation to Running through containerd, beside the same calls of CRI by hand.

    bin/bench cri [--rounds 7] [--pods 100]

Makes a lab of one node on containerd. In turns, round after round, the agent gets a Pod through the
API and a process on the node makes the same container by RunPodSandbox, CreateContainer and
StartContainer (bench/cri_hand.py). Then as many as ``--pods`` at the same time, likewise. Fails if
the agent takes over 1.3 times the peer's time and 0.1 s, or over 90 MB at the end.

Beside other work both sides wait for processors: only the ratio means something, and its limit
is the issue's. The agent's memory is its proportional set size (smaps_rollup): it shares the
imports of all parts with the lab's other processes.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.versus import THIS
from control.api import kinds
from control.api.pod import Pod
from control.client import Client, ObjectEvent
from lab.spec import CONTAINERD_SOCKET, cgroup
from lab.state import LabDir, lab_dir
from lab.status import look

FACTOR, SPARE_SECONDS, MOST_MEGABYTES = 1.3, 0.1, 90.0


@contextmanager
def made_lab() -> Iterator[LabDir]:
    """Make a lab of one node on containerd for the block."""
    name = f"bench{os.getpid()}"
    up = ("lab", "up", f"--name={name}", "--nodes=1", "--runtime=containerd", "--no-demo")
    try:
        _podwire(*up)
        yield lab_dir(name)
    finally:
        _podwire("lab", "down", f"--name={name}")


def _podwire(*words: str) -> None:
    subprocess.run(
        [*THIS.podwire, *words], env=THIS.environment, stdout=subprocess.DEVNULL, check=True
    )


class ByHand:
    """The peer: a process on the node."""

    def __init__(self, lab: LabDir) -> None:
        socket = CONTAINERD_SOCKET.removeprefix("unix://")
        inside = [sys.executable, "-P", "-m", "bench.cri_hand", socket, cgroup(lab.name, "node1")]
        argv = [*THIS.podwire, "lab", "exec", f"--name={lab.name}", "node1", "--", *inside]
        self.process = subprocess.Popen(
            argv, env=THIS.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, count: int) -> float:
        """Return what it took to start as many Pods."""
        _pipe(self.process.stdin).write(f"{count}\n")
        _pipe(self.process.stdin).flush()
        return float(json.loads(_pipe(self.process.stdout).readline()))

    def close(self) -> None:
        """End the process."""
        _pipe(self.process.stdin).close()
        self.process.wait()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def pod(name: str) -> Pod:
    """Return a Pod that waits, bound to the node."""
    main = {"name": "main", "image": "podwire/tools", "imagePullPolicy": "IfNotPresent"}
    spec = {"nodeName": "node1", "containers": [{**main, "command": ["sleep", "1000000"]}]}
    return Pod.parse({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def by_agent(client: Client, names: list[str]) -> float:
    """Create Pods; return the seconds until the last is Running."""
    version = (await client.list(kinds.POD, "default")).resource_version
    waiting = set(names)
    async with client.watch(kinds.POD, "default", resource_version=version) as events:
        began = time.monotonic()
        creating = asyncio.gather(*(client.create(kinds.POD, pod(name)) for name in names))
        async for event in events:
            if isinstance(event, ObjectEvent) and event.object.status.phase == "Running":
                waiting.discard(event.object.metadata.name or "")
                if not waiting:
                    break
        took = time.monotonic() - began
        await creating
    return took


async def end(client: Client, names: Iterable[str]) -> None:
    """Delete Pods at once, and wait until the last is gone."""
    await asyncio.gather(
        *(client.delete(kinds.POD, "default", it, grace_period_seconds=1) for it in names)
    )
    while (await client.list(kinds.POD, "default")).items:  # noqa: ASYNC110  of the API server
        await asyncio.sleep(0.2)


def megabytes(lab: LabDir) -> float:
    """Return the agent's proportional set size."""
    node = next(machine for machine in look(lab).machines if machine.name == "node1")
    agent = next(part for part in node.components if part.name == "agent")
    rows = Path(f"/proc/{agent.pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


async def measure(lab: LabDir, rounds: int, pods: int) -> list[str]:
    """Measure and print; return what is over a limit."""
    peer, ours, theirs = ByHand(lab), [], []
    async with Client.from_kubeconfig(lab.kubeconfig) as client:
        for number in range(rounds + 1):  # the first one warms both up
            names = [f"one-{number}"]
            ours.append(await by_agent(client, names))
            await end(client, names)
            theirs.append(await asyncio.to_thread(peer.seconds, 1))
        many = [f"many-{number}" for number in range(pods)]
        all_theirs = await asyncio.to_thread(peer.seconds, pods)
        all_ours = await by_agent(client, many)
        memory = megabytes(lab)
        await end(client, many)
    peer.close()
    one = statistics.median(ours[1:]), statistics.median(theirs[1:])
    faults = [_compare("a Pod", *one), _compare(f"{pods} Pods", all_ours, all_theirs)]
    print(f"  the agent's memory at {pods} Pods: {memory:.1f} MB")
    over = f"the agent has {memory:.1f} MB, more than {MOST_MEGABYTES}"
    return [*filter(None, faults), *([over] if memory > MOST_MEGABYTES else [])]


def _compare(what: str, ours: float, theirs: float) -> str:
    print(f"  {what} to Running: {ours:.3f} s, by hand {theirs:.3f} s: {ours / theirs:.2f} times")
    limit = FACTOR * theirs + SPARE_SECONDS
    return f"{what}: {ours:.3f} s is more than {limit:.3f} s" if ours > limit else ""


def main() -> None:
    """Measure, print, and fail over a limit."""
    parser = argparse.ArgumentParser(prog="bin/bench cri", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pods", type=int, default=100, help="at the same time")
    options = parser.parse_args()
    with made_lab() as lab:
        faults = asyncio.run(measure(lab, options.rounds, options.pods))
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
