"""The proxy's process that is measured: a checkout's, with one back end."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from bench.proxy_lab import Bench
from bench.versus import Tree
from tests.support.proxy.lab import call_filter

BACKENDS = {
    "nftables": ("--proxy-mode=nftables",),
    "ebpf": ("--proxy-mode=ebpf",),
    "iptables-nft": ("--proxy-mode=iptables", "--iptables-flavor=nft"),
    "iptables-legacy": ("--proxy-mode=iptables", "--iptables-flavor=legacy"),
}
_GIVEN = ("--node-name=n1", "-v", "--cluster-cidr=10.244.0.0/16")
_PATIENCE = 300  # seconds for a first load
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """A back end of a checkout."""

    backend: str
    tree: Tree

    @property
    def label(self) -> str:
        """Its name in a chart."""
        return f"{self.backend} {self.tree.name}".strip()


class Run:
    """A proxy's process in the lab's node."""

    def __init__(self, bench: Bench, subject: Subject) -> None:
        self._subject = subject
        self._node = bench.lab.spaces["node"]
        self._options = (f"--kubeconfig={bench.kubeconfig}", f"--cgroup-root={bench.cgroup}")
        self._synced: SimpleQueue[float] = SimpleQueue()
        self._last: deque[str] = deque(maxlen=20)
        # A checkout from before the proxy saw to its bridge had the node's agent set this.
        is_older = not (subject.tree.root / "proxy/linux/bridges.py").exists()
        call_filter(self._node, is_older)
        command = (*subject.tree.podwire, "proxy", *_GIVEN, *self._options)
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            self._node.argv(*command, *BACKENDS[subject.backend]),
            cwd=subject.tree.root,
            env=subject.tree.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Note each sync; keep the end of the log for an error."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last.append(line)
            if " synced " in line:
                self._synced.put(time.monotonic())

    def synced(self) -> float:
        """Wait for the first sync; returns the seconds since the start."""
        while True:
            try:
                return self._synced.get(timeout=1) - self.began
            except Empty:
                late = time.monotonic() - self.began > _PATIENCE
                if late or self._process.poll() is not None:
                    raise SystemExit(self._failure("has not synced")) from None

    def _failure(self, what: str) -> str:
        label, root = self._subject.label, self._subject.tree.root
        return f"the proxy {label} of {root} {what}; its log ends with:\n{''.join(self._last)}"

    def memory(self, field: str) -> float:
        """Megabytes: VmRSS, resident now, or VmHWM, the most so far."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(self._failure(f"has no {field} in its status"))

    def seconds(self) -> float:
        """Processor time so far, with that of the commands that it has run."""
        clock = ~self._process.pid << 3 | _CPUCLOCK_SCHED  # clock_getcpuclockid(3)
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        commands = sum(map(int, stat[13:15])) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(clock) + commands

    def end(self) -> None:
        """End the process, and remove its rules."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._reader.join()
        tree = self._subject.tree
        command = self._node.argv(*tree.podwire, "proxy", "--cleanup", *self._options)
        subprocess.run(command, check=True, cwd=tree.root, env=tree.environment)
