"""The processes of a lab: a keeper whose network is the switch, and below it one tree a machine.

    lab up ─fork─► keeper, PID 1 of the lab's process namespace, in the switch's network
                     ├─► control, PID 1 of its own namespace ─► apiserver scheduler controllers
                     └─► node1 … ─► cni agent proxy ─► shims ─► Pods

Because process namespaces nest, killing the keeper ends all of it, and with the last process the
kernel removes every network namespace, link, rule and mount that the lab ever made.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import setproctitle

from control.linux import processes, syscalls
from lab import linux, network
from lab.components import load_components
from lab.machine import enter_network, make_root
from lab.spec import API_PORT, CLUSTER_FD, MANAGEMENT_FD, LabSpec, Machine
from lab.state import Keeper, LabDir
from lab.supervise import Run, Supervisor, fork

_OUTER = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
_INNER = _OUTER | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC


class LaunchError(Exception):
    """The lab's processes could not be made; the text says what failed."""


@dataclass(frozen=True, slots=True)
class _Gate:
    """A pipe that one process waits at until another opens it with a message.

    When every process that could open it has died, the wait ends with nothing. A message ends in
    a NUL, because forks that have nothing to do with the gate hold its ends open as well.
    """

    read: int
    write: int

    @classmethod
    def make(cls) -> "_Gate":
        return cls(*os.pipe())

    def open(self, message: bytes = b"ok") -> None:
        os.write(self.write, message + b"\0")
        os.close(self.write)

    def wait(self) -> bytes:
        os.close(self.write)
        message = b""
        while not message.endswith(b"\0"):
            part = os.read(self.read, 4096)
            if not part:
                break
            message += part
        os.close(self.read)
        return message.rstrip(b"\0")


def launch(
    lab: LabDir, spec: LabSpec, machines: Sequence[Machine], management: socket.socket, run: Run
) -> None:
    """Start the lab's processes and return once every machine runs; raises LaunchError.

    This process must have no threads. ``management`` is the API server's listening socket in
    this network namespace; ``run`` carries out a component's command line.
    """
    report = _Gate.make()

    def keep() -> None:
        _keep(lab, spec, machines, management, run, report)

    starter = fork(lambda: _start_keeper(lab, report, keep))
    said = report.wait()
    os.waitpid(starter, 0)
    if said != b"ok":
        raise LaunchError(said.decode() or f"the lab's first process died: {_last_words(lab)}")


def _last_words(lab: LabDir) -> str:
    """The end of the keeper's log, which goes with the lab that could not be made."""
    log = lab.log("lab", "keeper")
    said = log.read_text(errors="replace").strip() if log.exists() else ""
    return said.rpartition("\n")[2] or "it said nothing"


def _start_keeper(lab: LabDir, report: _Gate, keep: Callable[[], None]) -> None:
    """Fork the keeper, and record it before it may do anything that would have to be removed."""
    os.setsid()
    try:
        syscalls.unshare(_OUTER)
    except OSError as err:
        return report.open(f"making namespaces failed: {err}; run as root".encode())
    recorded = _Gate.make()

    def wait_and_keep() -> None:
        if recorded.wait() == b"ok":
            keep()

    pid = fork(wait_and_keep)
    started = processes.start_ticks(pid)
    if started is not None:
        lab.write("keeper.json", asdict(Keeper(pid, started)))
        recorded.open()
    return None


def _keep(
    lab: LabDir,
    spec: LabSpec,
    machines: Sequence[Machine],
    management: socket.socket,
    run: Run,
    report: _Gate,
) -> None:
    """The keeper's life: wire the machines, report, then reap until it is killed."""
    _detach(lab, keep={report.read, report.write, management.fileno()})
    setproctitle.setproctitle(f"podwire lab {lab.name}")
    os.dup2(management.fileno(), MANAGEMENT_FD)
    management.close()
    try:
        linux.isolate_mounts()
        syscalls.mount("proc", "/proc", "proc")
        network.run_script(network.switch_script(spec))
        gates = [_make_machine(lab, spec, machine, run, report) for machine in machines]
        for gate in gates:
            gate.open()
    except (OSError, network.LabNetworkError) as err:
        report.open(f"wiring lab {lab.name} failed: {err}".encode())
        return
    os.close(MANAGEMENT_FD)
    report.open()
    while True:  # PID 1 of the namespace: whoever loses its parent becomes ours
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


def _detach(lab: LabDir, keep: Collection[int]) -> None:
    """Leave the caller: output goes to the keeper's log, and of its open files only ``keep`` stay.

    A pipe or a lock that ``lab up`` inherited would otherwise be held for as long as the lab runs.
    """
    out = os.open(lab.log("lab", "keeper"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(fd, target)
    linux.close_files(keep={0, 1, 2, *keep})
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _make_machine(lab: LabDir, spec: LabSpec, machine: Machine, run: Run, report: _Gate) -> _Gate:
    """Fork a machine's first process and wire it; the gate returned lets it start components."""
    start = _Gate.make()
    rooted = _Gate.make()

    def first_process() -> None:
        for fd in (report.write, rooted.read, born.read, born.write):
            os.close(fd)
        _be_machine(lab, spec, machine, run, rooted, start)

    def split() -> None:
        syscalls.unshare(_INNER)
        born.open(str(fork(first_process)).encode())

    born = _Gate.make()
    splitter = fork(split)
    pid_text = born.wait()
    os.waitpid(splitter, 0)
    said = rooted.wait()
    if said != b"ok" or not pid_text:
        raise OSError(f"machine {machine.name}: {said.decode() or 'its first process died'}")
    pid = int(pid_text)
    network.run_script(network.cable_script(machine, pid))
    _configure(spec, machine, pid)
    os.close(start.read)
    return start


def _configure(spec: LabSpec, machine: Machine, pid: int) -> None:
    def inside() -> None:
        enter_network(pid)
        network.run_script(network.machine_script(spec, machine))

    _, status = os.waitpid(fork(inside), 0)
    if status:
        raise network.LabNetworkError(f"addresses of {machine.name}: see the keeper's log")


def _be_machine(
    lab: LabDir, spec: LabSpec, machine: Machine, run: Run, rooted: _Gate, start: _Gate
) -> None:
    """The life of a machine's first process."""
    setproctitle.setproctitle(f"podwire machine {lab.name}/{machine.name}")
    logs = os.open(lab.logs, os.O_RDONLY)  # stays reachable after the root has changed
    try:
        make_root(lab, machine)
    except OSError as err:
        return rooted.open(str(err).encode())
    rooted.open()
    if start.wait() != b"ok":
        return None
    if machine.name == "control":
        _listen(spec)
    else:
        os.close(MANAGEMENT_FD)

    def log_of(component: str) -> str:
        return f"/proc/self/fd/{logs}/{machine.name}-{component}.log"

    return Supervisor(load_components, log_of, run).supervise()


def _listen(spec: LabSpec) -> None:
    """Make the API server's socket on the control machine's own network."""
    family = socket.AF_INET6 if spec.dual_stack else socket.AF_INET
    server = socket.create_server(
        ("", API_PORT), family=family, backlog=1024, dualstack_ipv6=spec.dual_stack
    )
    os.dup2(server.detach(), CLUSTER_FD)
