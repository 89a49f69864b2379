"""Servers that are measured with many clients: ours with each store, and a peer at a URL."""

import http.client
import os
import shlex
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.api.clients import Reach
from bench.versus import THIS
from control.client.kubeconfig import load
from control.pki import Identity, create_authority, create_key, issue

_PATIENCE = 60.0
_POLL = 0.005
_TICK = os.sysconf("SC_CLK_TCK")
STORES = ("sqlite", "etcd")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that serves; ``root`` is the process below which all of its processes are, or 0.

    ``started`` is the time in seconds from its process to its first answer.
    """

    name: str
    reach: Reach
    root: int
    started: float
    tls: ssl.SSLContext

    def ask(self, method: str, path: str, body: str = "") -> bytes:
        """Send one request on a connection of its own; raises SystemExit for a refusal."""
        connection = _connection(self.reach, self.tls)
        headers = {"Content-Type": "application/json"} if body else {}
        if self.reach.token:
            headers["Authorization"] = f"Bearer {self.reach.token}"
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"{self.name}: {method} {path}: {answer.status} {data[:500]!r}")
        return data

    def memory(self) -> float:
        """MB of its processes, without a store of their own (PSS); 0 if nobody knows them."""
        return (
            sum(map(_memory, _below(_listener(self.root, self.reach.port)))) if self.root else 0.0
        )


def _connection(reach: Reach, tls: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(reach.host, reach.port, context=tls, timeout=_PATIENCE)


@contextmanager
def ours(store: str, folder: Path) -> Iterator[Server]:
    """Run ``podwire apiserver`` over a store, as a lab does, but for its nodes."""
    _make_files(folder)
    tls = ssl.create_default_context(cafile=folder / "ca.crt")
    tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    with _store(store, folder) as where, socket.create_server(("127.0.0.1", 0)) as bound:
        port = int(bound.getsockname()[1])
        ca = (folder / "ca.crt").read_text()
        reach = Reach("127.0.0.1", port, ca, *(f"{folder}/admin.{it}" for it in ("crt", "key")))
        argv = [*THIS.podwire, "apiserver", *_flags(where, folder, bound.fileno())]
        began = time.monotonic()
        with _running(argv, folder, pass_fds=[bound.fileno()], env=THIS.environment) as process:
            bound.close()
            _wait(reach, tls, process)
            yield Server(f"podwire, {store}", reach, process.pid, time.monotonic() - began, tls)


def _make_files(folder: Path) -> None:
    authority = create_authority("bench")
    authority.save(folder, "ca")
    issue(authority, Identity("server", hosts=("127.0.0.1",))).save(folder, "server")
    issue(authority, Identity("admin", ("system:masters",))).save(folder, "admin")
    (folder / "sa.key").write_bytes(create_key())


def _flags(where: str, folder: Path, descriptor: int) -> list[str]:
    return [
        f"--store={where}",
        f"--listen-fd={descriptor}",
        f"--tls-cert={folder}/server.crt",
        f"--tls-key={folder}/server.key",
        f"--client-ca={folder}/ca.crt",
        f"--service-account-signing-key-file={folder}/sa.key",
        "--authorization-mode=Node,RBAC",
    ]


@contextmanager
def _store(store: str, folder: Path) -> Iterator[str]:
    """Yield what ``--store`` names."""
    if store == "sqlite":
        yield f"sqlite:{folder}/store.db"
        return
    clients, peers = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    argv = ["etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={clients}"]
    argv += [f"--advertise-client-urls={clients}", f"--listen-peer-urls={peers}"]
    argv += [f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"]
    with _running([*argv, "--max-txn-ops=1024", "--logger=zap", "--log-level=error"], folder):
        _await_port(int(clients.rpartition(":")[2]))
        yield f"etcd:{clients}"


def _free_ports(count: int) -> list[int]:
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in bound]
    for each in bound:
        each.close()
    return ports


def _await_port(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(_POLL)
    raise SystemExit(f"bin/bench api: nobody listens on port {port}")


@contextmanager
def _running(argv: list[str], folder: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own, and end all of it."""
    log = folder / f"{Path(argv[0]).name}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv, stdout=output, stderr=output, start_new_session=True, **options
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of somebody else's: its URL, its credentials, and how to start it anew."""

    url: str
    kubeconfig: Path
    command: str = ""

    @contextmanager
    def served(self, folder: Path) -> Iterator[Server]:
        """Yield the peer, started anew if that is known."""
        reach, tls = self._reach(folder)
        if not self.command:
            yield Server("peer", reach, 0, 0.0, tls)
            return
        with _running(shlex.split(self.command), folder) as process:
            _wait(reach, tls, process)
            taken = _uptime() - _begun(_listener(process.pid, reach.port))
            yield Server("peer", reach, process.pid, taken, tls)

    def _reach(self, folder: Path) -> tuple[Reach, ssl.SSLContext]:
        known, parts = load(self.kubeconfig), urlsplit(self.url)
        ca = known.ca.decode() if known.ca else ""
        tls = ssl.create_default_context(cadata=ca or None)
        if known.insecure or not ca:
            tls.check_hostname, tls.verify_mode, ca = False, ssl.CERT_NONE, ""
        files = ("", "")
        shown = known.credentials
        if shown.certificate and shown.key:
            (folder / "peer.crt").write_bytes(shown.certificate)
            (folder / "peer.key").touch(mode=0o600)
            (folder / "peer.key").write_bytes(shown.key)
            files = (f"{folder}/peer.crt", f"{folder}/peer.key")
            tls.load_cert_chain(*files)
        host, port = parts.hostname or "127.0.0.1", parts.port or 443
        return Reach(host, port, ca, *files, shown.token or ""), tls


Start = Callable[[Path], AbstractContextManager[Server]]


def _wait(reach: Reach, tls: ssl.SSLContext, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server is ready; raises SystemExit."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        connection = _connection(reach, tls)
        with suppress(OSError, http.client.HTTPException):
            headers = {"Authorization": f"Bearer {reach.token}"} if reach.token else {}
            connection.request("GET", "/readyz", headers=headers)
            if connection.getresponse().status == http.client.OK:
                return
        connection.close()
        time.sleep(_POLL)
    raise SystemExit(f"bin/bench api: {process.args!r} does not serve")


def _listener(root: int, port: int) -> int:
    """Return the process below ``root`` that listens on a port: a store may run beside it."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in _below(root):
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(link.readlink()) in sockets:
                        return pid
    return root


def _listening(port: int) -> list[str]:
    """Return the inodes of sockets that listen on a port."""
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listens = "0A"  # TCP_LISTEN
    return [
        row[9] for row in rows if row[3] == listens and int(row[1].partition(":")[2], 16) == port
    ]


def _below(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _below(int(child))
    return found


def _begun(pid: int) -> float:
    """Return when a process began, in seconds since the machine did."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / _TICK


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _memory(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
