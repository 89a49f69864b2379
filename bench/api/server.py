"""A server that is measured: one of a checkout, or a peer at a URL."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.apiserver import running
from bench.cpus import apart, pin
from bench.versus import Tree
from control.client.kubeconfig import load

_CPUCLOCK_SCHED = 2
_PATIENCE = 60.0
_SETTLED = 3.0  # seconds from the first answer until memory is read


class RefusedError(Exception):
    """A server does not serve a request."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a batch: of the clock, and of the server's processor (0 for a peer)."""

    wall: float
    processor: float


class Target:
    """A server with a connection to it; ``pid`` is 0 for a peer."""

    def __init__(self, name: str, port: int, tls: ssl.SSLContext, pid: int = 0) -> None:
        self.name, self.pid = name, pid
        self.host, self.headers = "127.0.0.1", {"User-Agent": "bench/1"}
        self._port, self._tls = port, tls
        self._connection: http.client.HTTPSConnection | None = None

    @property
    def connection(self) -> http.client.HTTPSConnection:
        """The connection that is kept for requests."""
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection of its own."""
        connection = http.client.HTTPSConnection(
            self.host, self._port, context=self._tls, timeout=_PATIENCE
        )
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, method: str, path: str, body: bytes | None = None, media: str = "") -> bytes:
        """Send a request; return the answer. Raises RefusedError."""
        headers = self.headers | ({"Content-Type": media or "application/json"} if body else {})
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RefusedError(f"{self.name}: {method} {path}: {answer.status} {data[:300]!r}")
        return data

    def read(self, path: str) -> Any:
        """Return an object."""
        return json.loads(self.ask("GET", path))

    def processor(self) -> float:
        """Seconds of the processor that the server has used."""
        if not self.pid:
            return 0.0
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)  # clock_getcpuclockid(3)

    def memory(self) -> float:
        """MB that the server holds now (VmRSS)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(it.split()[1]) for it in lines if it.startswith("VmRSS:")) / 1024


def peer(url: str, kubeconfig: Path) -> Target:
    """Return a server that runs already, with the credentials of a kubeconfig."""
    known = load(kubeconfig)
    context = ssl.create_default_context(cadata=known.ca.decode() if known.ca else None)
    if known.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(url)
    target = Target("peer", parts.port or 443, context)
    target.host = parts.hostname or "127.0.0.1"
    if token := known.credentials.token:
        target.headers["Authorization"] = f"Bearer {token}"
    return target


@contextmanager
def served(tree: Tree, folder: Path) -> Iterator[Target]:
    """Run ``podwire apiserver`` of a checkout on its CPU; yield it when it is ready."""
    with running(tree, folder) as (port, pid):
        tls = ssl.create_default_context(cafile=folder / "ca.crt")
        tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        target = Target(tree.name or "this", port, tls, pid)
        _wait(target, folder / "server.log")
        pin([pid], apart()[1])
        yield target


def _wait(target: Target, log: Path) -> None:
    """Wait until a server is ready, and has nothing more to do for its start."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException, RefusedError):
            target.ask("GET", "/readyz")
            time.sleep(_SETTLED)
            return
        time.sleep(0.1)
    raise SystemExit(f"bin/bench: {target.name} is not ready; its log: {log.read_text()}")
