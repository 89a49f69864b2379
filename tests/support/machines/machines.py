"""Booted machines with systemd, joined by a bridge, as Vagrant's virtual machines are.

They share the kernel: each is a container of systemd-nspawn, in namespaces that end with this
process.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.groups import owned

HERE = Path(__file__).parent
_CLEAN = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_REBOOT = 133


@dataclass
class Machine:
    """One of the machines, by its name; ``boot`` starts it."""

    name: str
    address: str
    site: "Site"
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def boot(self) -> None:
        """Start it, without waiting; what it wrote before is still there."""
        with (self.site.scratch / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("nsenter", f"--target={self.site.first}", "--mount", "--net", "--pid"),
                    *(HERE / "boot", self.site.inside, self.site.lower, self.name, self.address),
                    self.site.group,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def reboot(self) -> None:
        """Shut it down in order and boot it again; wait until it is up."""
        before = self.wait()
        self.try_run("systemctl", "reboot")
        assert self.process is not None
        # nspawn without a unit of its own leaves it to its caller to start it again
        assert self.process.wait(timeout=120) == _REBOOT, self.log()
        self.boot()
        self.wait(before)

    def cut(self) -> None:
        """End it at once, as a power cut does; wait until it has."""
        leader = self.leader()
        assert leader is not None and self.process is not None, f"{self.name} does not run"
        os.kill(leader, signal.SIGKILL)
        self.process.wait(timeout=60)

    def wait(self, boot: str = "", seconds: float = 180) -> str:
        """Wait until all its units have started; return this boot's ID, which is not ``boot``."""
        deadline = time.monotonic() + seconds
        while True:
            state = self._state()
            if state[0] in ("running", "degraded") and state[1] not in ("", boot):
                assert state[0] == "running", self.run("systemctl", "--failed", "--no-legend")
                return state[1]
            assert time.monotonic() < deadline, f"{self.name} is {state}: {self.log()}"
            time.sleep(0.05)

    def _state(self) -> tuple[str, str]:
        if self.leader() is None:
            return "off", ""
        script = "systemctl is-system-running; cat /proc/sys/kernel/random/boot_id"
        lines = self.try_run("sh", "-c", script).stdout.split()
        return (lines[0], lines[1]) if len(lines) == 2 else ("starting", "")

    def leader(self) -> int | None:
        """Return the process ID, here, of its first process; None while it does not run."""
        assert self.process is not None, f"{self.name} was not booted"
        for child in _children(self.process.pid):  # nsenter's child is nspawn, whose child it is
            for process in _children(child):
                with suppress(OSError):
                    status = Path(f"/proc/{process}/status").read_text()
                    if status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1":
                        return process
        return None

    def argv(self, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` on it."""
        leader = self.leader()
        assert leader is not None, f"{self.name} does not run: {self.log()}"
        return ["nsenter", f"--target={leader}", "--all", *_CLEAN, *argv]

    def try_run(
        self, *argv: str, stdin: str | None = None, timeout: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on it."""
        return subprocess.run(
            self.argv(*argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def run(self, *argv: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run a command on it, and return its output; a failure fails the test."""
        done = self.try_run(*argv, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{self.name}: {argv}: {done.stdout[-3000:]}{done.stderr}"
        return done.stdout

    def root(self) -> Path:
        """Return its root folder, as seen from here."""
        return Path(f"/proc/{self.leader()}/root")

    def log(self) -> str:
        """Return what nspawn and the console said last."""
        return (self.site.scratch / f"{self.name}.log").read_text(errors="replace")[-2000:]


@dataclass
class Site:
    """Where the machines are."""

    scratch: Path  # for logs, here
    inside: Path  # for roots, in the machines' mount namespace
    lower: Path
    group: str
    first: int  # process ID of their namespaces' first process
    machines: dict[str, Machine] = field(default_factory=dict)

    def add(self, name: str, number: int) -> Machine:
        """Boot a machine with the address 192.168.56.(10 + number)."""
        machine = self.machines[name] = Machine(name, f"192.168.56.{10 + number}", self)
        machine.boot()
        return machine


@contextmanager
def site(lower: Path) -> Iterator[Site]:
    """Namespaces for machines whose roots are layers over ``lower``; all of it ends with this."""
    with owned("machines") as group, tempfile.TemporaryDirectory(prefix="podwire-machines-") as tmp:
        scratch = Path(tmp)
        inside = scratch / "roots"
        inside.mkdir()
        outer = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid"),
                *("--fork", "--kill-child=KILL", "--mount-proc", "--", HERE / "outer", inside),
            ],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        made = None
        try:
            assert outer.stdout and outer.stdout.readline() == b"ready\n", "outer has said why"
            (first,) = _children(outer.pid)
            yield (made := Site(scratch, inside, lower, group, first))
        finally:
            outer.send_signal(signal.SIGKILL)
            outer.communicate()
            for machine in made.machines.values() if made else ():
                if machine.process is not None:
                    machine.process.wait()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
