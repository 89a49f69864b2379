"""A machine for one test: namespaces, files and cgroups that vanish with the test.

Whatever a runtime does to links, mounts, /etc, /opt, /run or /var/lib happens in here. The machine
lives as long as its first process, and that one as long as a pipe from the test is open: also a
test that is killed leaves nothing running.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.e2e.runtimes.groups import own_groups, remove_groups

_PREFIX = "podwire-e2e-"
_SPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")
_ENTER = 'own=$1; shift; for group in $own; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'
# Each hierarchy is seen from the machine's own group, in which the processes have a leaf: cgroup 2
# lets no group have both processes and controlled children.
_BOOT = r"""
set -e
mount -t tmpfs tmpfs /run
while [ $# -gt 0 ]; do
  mkdir -p /run/group "$2/init"
  echo 1 > "$2/init/cgroup.procs"
  mount --bind "$2" /run/group
  umount "$1"
  mount --move /run/group "$1"
  shift 2
done
for folder in etc opt var/lib; do
  mkdir -p "/run/files/$folder/upper" "/run/files/$folder/work"
  mount -t overlay overlay "/$folder" -o \
    "lowerdir=/$folder,upperdir=/run/files/$folder/upper,workdir=/run/files/$folder/work"
done
rm -rf /etc/cni/net.d /var/lib/cni
mkdir -p /run/netns
ip link set lo up
echo ready
cat
exit # so that the shell stays: it reaps the orphans, cat would not
"""


class Machine:
    """A running machine. ``files`` is a folder that the machine and the test share."""

    def __init__(self, first: int, files: Path) -> None:
        self.first, self.files = first, files

    def argv(self, *argv: str | Path) -> list[str]:
        """The command line that runs ``argv`` in the machine."""
        return ["nsenter", f"--target={self.first}", *_SPACES, "--", *map(str, argv)]

    def try_run(
        self, *argv: str | Path, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine. It may fail."""
        return subprocess.run(
            self.argv(*argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, *argv: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """The output of a command in the machine. It must succeed."""
        done = self.try_run(*argv, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, name: str, *argv: str | Path) -> Iterator["Daemon"]:
        """Run a daemon in the machine for the block. Its output is in ``files/NAME.log``."""
        note = 'echo $$ > "$0"; exec "$@"'
        pid_file = self.files / f"{name}.pid"
        with (self.files / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.argv("sh", "-c", note, pid_file, *argv), stdout=log, stderr=log
            )
        daemon = Daemon(self, process, pid_file)
        try:
            yield daemon
        finally:
            daemon.end("TERM")


@dataclass(frozen=True)
class Daemon:
    """A process of the machine. ``process`` is its nsenter, which passes no signals on."""

    machine: Machine
    process: subprocess.Popen[bytes]
    pid_file: Path

    def end(self, signal: str) -> None:
        """Send a signal and wait for the process's end, unless it has ended."""
        if self.process.poll() is None:
            self.machine.run("kill", f"-{signal}", self.pid_file.read_text().strip())
            self.process.wait(20)


@contextmanager
def machine() -> Iterator[Machine]:
    """Run a machine for the block."""
    _sweep()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as files,
        _locked(Path(files)),
        own_groups(Path(files).name) as groups,
        _start(groups) as process,  # its exit closes the pipe and waits
    ):
        yield Machine(_first_process(process), Path(files))


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Yield true if no other test uses the folder. The kernel drops a dead test's lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False  # its user or another test has removed it
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _sweep() -> None:
    """Remove the folders and cgroups that killed tests left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with _locked(folder) as ours:
            if ours:
                remove_groups(folder.name)
                shutil.rmtree(folder)


def _start(groups: Mapping[Path, Path]) -> subprocess.Popen[str]:
    unshare = ["unshare", *_SPACES, "--fork", "--kill-child", "--mount-proc", "--"]
    boot = ["sh", "-c", _BOOT, "sh", *(str(path) for pair in groups.items() for path in pair)]
    enter = ["sh", "-c", _ENTER, "sh", " ".join(map(str, groups.values()))]
    pipe = subprocess.PIPE
    return subprocess.Popen([*enter, *unshare, *boot], stdin=pipe, stdout=pipe, text=True)


def _first_process(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", f"no machine: code {process.wait(20)}"
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
