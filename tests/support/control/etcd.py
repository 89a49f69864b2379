"""Real etcd servers for tests: Debian's, on loopback, in a folder of their own."""

import atexit
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from control.store.etcd.connection import RANGE, EtcdConnection, members
from control.store.etcd.v3 import rpc_pb2 as pb

PATIENCE = 60.0


def free_port() -> int:
    """Return a port of loopback on which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class Etcd:
    """One member: of itself, or of a cluster that ``cluster`` describes."""

    folder: Path
    name: str = "one"
    cluster: str = ""
    port: int = field(default_factory=free_port)
    peer: int = field(default_factory=free_port)
    more: tuple[str, ...] = ()  # of etcd's options
    scheme: str = "http"
    host: str = "127.0.0.1"
    enter: tuple[str, ...] = ()  # words before the program's: where and under what it runs
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def peer_url(self) -> str:
        """Where the other members ask."""
        return f"http://{self.host}:{self.peer}"

    def start(self) -> None:
        """Start it, or start it again; it may not answer yet."""
        options = {
            "name": self.name,
            "data-dir": str(self.folder / self.name),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": self.cluster or f"{self.name}={self.peer_url}",
            "log-level": "error",
            "logger": "zap",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        log = (self.folder / f"{self.name}.log").open("ab")
        with log:
            argv = [*self.enter, "etcd", *words, *self.more]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < deadline, (self.folder / f"{self.name}.log").read_text()
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket() as asker:
            return asker.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def etcd_cluster(folder: Path, names: tuple[str, ...] = ("a", "b", "c")) -> Iterator[list[Etcd]]:
    """Give the members of a cluster that runs while the context lasts."""
    members = [Etcd(folder, name) for name in names]
    cluster = ",".join(f"{member.name}={member.peer_url}" for member in members)
    try:
        for member in members:
            member.cluster = cluster
            member.start()
        for member in members:
            member.wait()
        yield members
    finally:
        for member in members:
            member.kill()


@cache
def shared_etcd() -> Etcd:
    """Return a server that this process's tests share, each with keys of its own."""
    folder = Path(tempfile.mkdtemp(prefix="etcd-"))
    made = Etcd(folder)
    made.start()
    atexit.register(shutil.rmtree, folder)
    atexit.register(made.kill)
    made.wait()
    return made


async def leases_of(url: str) -> dict[str, int]:
    """Return each key's lease, as etcd has it."""
    place = members(url)
    connection = EtcdConnection(place)
    prefix = place.prefix.encode()
    request = pb.RangeRequest(key=prefix + b"/", range_end=prefix + b"0")
    answer = await connection.read(RANGE, request)
    connection.close()
    return {kv.key[len(prefix) :].decode(): kv.lease for kv in answer.kvs}
