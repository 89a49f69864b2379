"""The processes of a lab: a keeper, whose network is the switch, and a process tree per machine.

    lab up ─fork─► keeper, PID 1 of the lab's process namespace, in the switch's network
                     ├─► control, PID 1 of its own namespace ─► apiserver scheduler controllers
                     └─► node1 … ─► cni agent proxy ─► shims ─► Pods

Process namespaces nest: killing the keeper ends all processes of the lab. With the last process the
kernel removes every network namespace, link, rule and mount of the lab.
"""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import setproctitle

from control.linux import processes, syscalls
from control.reported import ReportedError
from lab import forward, linux, modules, network, waiter
from lab.balancer.process import Balancer
from lab.cloud import write_running
from lab.components import load_components
from lab.link import cable
from lab.link.quality import LinkError
from lab.machine import enter_network, make_root
from lab.parts import machines as machines_of
from lab.requests import WAIT
from lab.spec import (
    API_PORT,
    CLUSTER_FD,
    DNS_FDS,
    DNS_PORT,
    MANAGEMENT_FD,
    LabSpec,
    Machine,
)
from lab.state import Keeper, LabDir
from lab.supervise import Run, Supervisor, fork

_OUTER = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
_REQUEST_SECONDS = 5.0  # for who asks to say what
_LONGEST_REQUEST = 1 << 14  # bytes: the names of 100 nodes
_INNER = _OUTER | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC


class LaunchError(ReportedError):
    """The lab's processes could not be started; the text names the failed step."""


@dataclass(frozen=True, slots=True)
class _Gate:
    """A pipe on which one process waits for a message from another.

    The wait ends without a message when all processes that could send one have died. A message
    ends with NUL, because unrelated forks also hold the pipe's ends open.
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
    """Start the lab's processes; return when every machine runs. Raises LaunchError.

    This process must have no threads. ``management`` is the API server's listening socket in
    this network namespace; ``run`` carries out a component's command line.
    """
    report = _Gate.make()

    def keep() -> None:
        _keep(lab, spec, machines, management, run, report)

    starter = fork(lambda: _start_keeper(lab, report, keep))
    outcome = report.wait()
    os.waitpid(starter, 0)
    if outcome != b"ok":
        raise LaunchError(outcome.decode() or f"the lab's first process died: {_last_words(lab)}")


def _last_words(lab: LabDir) -> str:
    """Return the last line of the keeper's log, which is removed with the failed lab."""
    log = lab.log("lab", "keeper")
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    return text.rpartition("\n")[2] or "its log is empty"


def _start_keeper(lab: LabDir, report: _Gate, keep: Callable[[], None]) -> None:
    """Fork the keeper, and record it before it makes anything that must be removed."""
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
    """Run the keeper: connect the machines, report, then reap until killed."""
    _detach(lab, keep={report.read, report.write, management.fileno()})
    setproctitle.setproctitle(f"podwire lab {lab.name}")
    os.dup2(management.fileno(), MANAGEMENT_FD)
    management.close()
    try:
        linux.isolate_mounts()
        syscalls.mount("proc", "/proc", "proc")
        network.run_script(network.switch_script(spec))
        made = {machine.name: _make_machine(lab, spec, machine, run) for machine in machines}
        for _, gate in made.values():
            gate.open()
        requests = _listen_for_requests(lab)
        balancer = Balancer(lab, spec, _fork)
    except (OSError, network.LabNetworkError) as err:
        report.open(f"wiring lab {lab.name} failed: {err}".encode())
        return
    report.open()
    _serve(lab, run, requests, balancer, {pid: name for name, (pid, _) in made.items()})


def _listen_for_requests(lab: LabDir) -> socket.socket:
    """Make the socket of ``podwire lab start``; only root may connect."""
    server = socket.socket(socket.AF_UNIX)
    lab.requests.unlink(missing_ok=True)  # of an earlier run of the lab
    mask = os.umask(0o177)
    try:
        server.bind(os.fspath(lab.requests))
    finally:
        os.umask(mask)
    server.listen()
    server.setblocking(False)
    return server


def _serve(
    lab: LabDir, run: Run, requests: socket.socket, balancer: Balancer, running: dict[int, str]
) -> None:
    """Reap all orphans, as PID 1 of the namespace must, and start machines that were killed.

    ``running`` has the names of machines by the process ID of their first process.
    """
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    _reap(running)  # who ended before its signal was waited for
    balancer.keep()
    told: set[str] = set()
    while True:
        told = _tell_cloud(lab, told, {*running.values()})
        select.select([requests, woken], [], [])
        with suppress(BlockingIOError):
            woken.recv(4096)
        balancer.keep(_reap(running))
        with suppress(OSError):  # nobody asks, or who asked has gone
            connection, _ = requests.accept()
            with connection:
                _answer(connection, lab, run, running)


def _tell_cloud(lab: LabDir, told: set[str], names: set[str]) -> set[str]:
    """Tell the cloud which machines run, if that has changed; return what it knows."""
    if told == names:
        return told
    try:
        spec = lab.spec()
        if spec is not None:
            write_running(lab, spec, names)
    except OSError as err:  # a full disk must not end the lab
        print(f"running machines are not written: {err}")
        return told
    return names


def _reap(running: dict[int, str]) -> set[int]:
    """Reap what has ended, and return its process IDs."""
    ended = set()
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            running.pop(pid, None)
            ended.add(pid)
    return ended


def _answer(connection: socket.socket, lab: LabDir, run: Run, running: dict[int, str]) -> None:
    """Start the machine that a request names, and answer ``ok`` or why it does not run.

    A request with a socket publishes it; a fork answers a request to wait for nodes.
    """
    connection.settimeout(_REQUEST_SECONDS)
    request, fds, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 1)
    if fds:
        _fork(lambda: forward.serve(request, fds[0], connection), {fds[0], connection.fileno()})
        return os.close(fds[0])
    if request.startswith(WAIT):
        _fork(lambda: waiter.serve(lab, request, connection), {connection.fileno()})
        return None
    name = request.decode(errors="replace")
    try:
        _start_again(lab, run, running, name)
    except (OSError, network.LabNetworkError) as err:
        connection.sendall(f"machine {name} cannot be started: {err}".encode())
    else:
        connection.sendall(b"ok")
    return None


def _fork(answer: Callable[[], None], keep: Collection[int]) -> int:
    """Let a fork answer a request, with only the files ``keep``; return its process ID."""

    def child() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        linux.close_files(keep={0, 1, 2, *keep})
        answer()

    return fork(child)


def _start_again(lab: LabDir, run: Run, running: dict[int, str], name: str) -> None:
    spec = lab.spec()
    known = {machine.name: machine for machine in machines_of(spec)} if spec else {}
    if spec is None or name not in known:
        raise OSError(f"lab {lab.name} has no such machine: it has {', '.join(known)}")
    for pid in [pid for pid, title in running.items() if title == name]:
        _wait_for_the_end(pid)
        del running[pid]
    network.unplug(known[name])  # the kernel removes a dead machine's cable, but not at once
    pid, gate = _make_machine(lab, spec, known[name], run)
    running[pid] = name
    gate.open()


def _detach(lab: LabDir, keep: Collection[int]) -> None:
    """Detach from the caller: send output to the keeper's log, and close files but ``keep``.

    Otherwise the lab would hold a pipe or a lock that ``lab up`` has inherited.
    """
    out = os.open(lab.log("lab", "keeper"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(fd, target)
    linux.close_files(keep={0, 1, 2, *keep})
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _wait_for_the_end(pid: int) -> None:
    """Reap a machine's first process, which ends after all others; raises OSError if it lives."""
    if Path(f"/proc/{pid}/cmdline").read_bytes():  # a process that ends has none
        raise OSError("it runs")
    os.waitpid(pid, 0)


def _make_machine(lab: LabDir, spec: LabSpec, machine: Machine, run: Run) -> tuple[int, _Gate]:
    """Fork a machine's first process and connect it.

    Return its process ID, as seen from the keeper, and the gate that starts its components.
    """
    start = _Gate.make()
    rooted = _Gate.make()

    def first_process() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gates = {rooted.write, start.read, start.write}
        linux.close_files(keep={0, 1, 2, MANAGEMENT_FD, *gates})
        _be_machine(lab, spec, machine, run, rooted, start)

    def split() -> None:
        syscalls.unshare(_INNER)
        born.open(str(fork(first_process)).encode())

    born = _Gate.make()
    splitter = fork(split)
    pid_text = born.wait()
    os.waitpid(splitter, 0)
    outcome = rooted.wait()
    if outcome != b"ok" or not pid_text:
        raise OSError(f"machine {machine.name}: {outcome.decode() or 'its first process died'}")
    pid = int(pid_text)
    try:
        network.run_script(network.cable_script(machine, pid))
        _configure(spec, machine, pid)
        _spoil(lab, machine, pid)
    except (OSError, network.LabNetworkError):
        os.kill(pid, signal.SIGKILL)
        raise
    os.close(start.read)
    return pid, start


def _spoil(lab: LabDir, machine: Machine, pid: int) -> None:
    """Let a machine's cable be as bad as the one that it had; raises OSError."""
    try:
        cable.plug_in(lab, machine.name, pid)
    except (LinkError, ValueError, TypeError) as err:
        raise OSError(f"machine {machine.name}: {err}") from err


def _configure(spec: LabSpec, machine: Machine, pid: int) -> None:
    def inside() -> None:
        enter_network(pid)
        if modules.is_bridge_filter_loaded():
            modules.let_bridges_be()  # the proxy sees to the Pods' bridge
        network.run_script(network.machine_script(spec, machine))

    _, status = os.waitpid(fork(inside), 0)
    if status:
        raise network.LabNetworkError(f"addresses of {machine.name}: see the keeper's log")


def _be_machine(
    lab: LabDir, spec: LabSpec, machine: Machine, run: Run, rooted: _Gate, start: _Gate
) -> None:
    """Run a machine's first process."""
    setproctitle.setproctitle(f"podwire machine {lab.name}/{machine.name}")
    logs = os.open(lab.logs, os.O_RDONLY)  # reachable after the root has changed
    try:
        make_root(lab, machine)
    except OSError as err:
        return rooted.open(str(err).encode())
    rooted.open()
    if start.wait() != b"ok":
        return None
    if machine.name in spec.controls:
        _listen(spec, machine.ips)
    if machine.name not in spec.controls or spec.is_balanced:
        os.close(MANAGEMENT_FD)

    def log_of(component: str) -> str:
        return f"/proc/self/fd/{logs}/{machine.name}-{component}.log"

    return Supervisor(load_components, log_of, run).supervise()


def _listen(spec: LabSpec, ips: Sequence[str]) -> None:
    """Make the API server's and the DNS servers' sockets in the control machine's network."""
    family = socket.AF_INET6 if 6 in spec.families else socket.AF_INET
    server = socket.create_server(
        ("", API_PORT), family=family, backlog=1024, dualstack_ipv6=6 in spec.families
    )
    os.dup2(server.detach(), CLUSTER_FD)
    descriptors = iter(DNS_FDS)
    for address in ips:
        for made in _dns_sockets(address):
            os.dup2(made.detach(), next(descriptors))


def _dns_sockets(address: str) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packets = socket.socket(family, socket.SOCK_DGRAM)
    packets.bind((address, DNS_PORT))
    return packets, socket.create_server((address, DNS_PORT), family=family, backlog=1024)
