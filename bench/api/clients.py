"""Client processes that begin together: what they saw, and how busy they were."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.versus import THIS

Request = tuple[str, str, str]  # method, path, body


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw: seconds of the clock, of each request or event, of their processors.

    ``busiest`` is the share of a processor that the busiest client needed: far from 1, it was not
    the limit.
    """

    wall: float
    each: tuple[float, ...]
    busiest: float
    size: int = 0  # bytes of the longest answer

    def percentile(self, share: float) -> float:
        """Return the seconds that a share of the requests or events do not exceed."""
        return sorted(self.each)[min(len(self.each) - 1, int(len(self.each) * share))]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is reached: address, credentials. Without ``ca`` it is not verified."""

    host: str
    port: int
    ca: str = ""
    certificate: str = ""  # a file
    key: str = ""
    token: str = ""

    def job(self, **more: Any) -> dict[str, Any]:
        """Return a job of a client, but for its work."""
        names = ("host", "port", "ca", "certificate", "key", "token")
        return {name: getattr(self, name) for name in names} | more


class Clients:
    """Processes with open connections, that wait for the word to begin."""

    def __init__(self, jobs: Sequence[dict[str, Any]]) -> None:
        argv = [sys.executable, "-P", "-m", "bench.api.load"]
        self._processes = [
            subprocess.Popen(
                argv,
                cwd=THIS.root,
                env=THIS.environment | {"PYTHONPATH": str(THIS.root)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in jobs
        ]
        for process, job in zip(self._processes, jobs, strict=True):
            _write(process, json.dumps(job))
        for process in self._processes:
            self._line(process)

    def run(self) -> Seen:
        """Let all begin; return what they saw when all have ended."""
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Let all begin."""
        self._began = time.perf_counter()
        for process in self._processes:
            _write(process, "begin")

    def end(self) -> Seen:
        """Return what the processes saw, when all have ended."""
        found = [json.loads(self._line(process)) for process in self._processes]
        wall = time.perf_counter() - self._began
        self._close()
        each = [seconds for one in found for seconds in one.get("taken") or one["late"]]
        busiest = max(one["processor"] for one in found) / wall
        return Seen(wall, tuple(each), busiest, max(one.get("size", 0) for one in found))

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        if line := process.stdout.readline():
            return line
        for each in self._processes:
            each.kill()
        self._close()
        raise SystemExit("bin/bench api: a client has ended: see above")

    def _close(self) -> None:
        """Wait for the processes' end."""
        for process in self._processes:
            with process:
                pass


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def asking(reach: Reach, requests: Sequence[Request], processes: int, connections: int) -> Clients:
    """Return clients that send requests, shared among them, over so many connections in all."""
    return Clients(
        [
            reach.job(
                work="ask",
                connections=connections // processes,
                requests=requests[number::processes],
            )
            for number in range(processes)
        ]
    )


def watching(reach: Reach, path: str, events: int, processes: int, watchers: int) -> Clients:
    """Return clients that watch, until each watcher has seen so many events."""
    job = reach.job(work="watch", connections=watchers // processes, path=path, events=events)
    return Clients([job] * processes)
