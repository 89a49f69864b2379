"""Machines with API servers and etcd, each in a network namespace, and what disturbs them.

Each machine has a disk of its own, small and slow: every fsync takes a while. Its API server has a
clock that can be made to jump; etcd reads the kernel's.
"""

import json
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control.pki import Identity, create_authority, issue
from tests.support.control.etcd import Etcd
from tests.support.parts import program
from tests.support.space import Space

_CLIENT_PORT, _PEER_PORT, _PORT = 2379, 2380, 6443
_NAMES = ("one", "two", "three")
_DISK = "200M"  # etcd takes 128 MiB at once
_FSYNC = 5_000  # microseconds that an fsync takes longer
_SLOWLY = (
    *("strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null"),
    *("-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:delay_enter={_FSYNC}"),
)
PATIENCE = 60.0


@dataclass
class Machine:
    """A namespace with an API server, and a member of etcd if there is one."""

    name: str
    space: Space
    address: str
    folder: Path
    store: str = ""
    etcd: Etcd | None = None
    server: subprocess.Popen[bytes] | None = None

    @property
    def disk(self) -> Path:
        """The folder of its data."""
        return self.folder / f"disk-{self.name}"

    @property
    def jump(self) -> Path:
        """The file that says how many seconds its API server's clock is ahead."""
        return self.folder / f"jump-{self.name}"

    def set_clock(self, ahead: int) -> None:
        """Let the API server's clock jump to so many seconds ahead of the kernel's."""
        with self.jump.open("r+b" if self.jump.exists() else "wb") as file:
            file.write(struct.pack("l", ahead))

    def fill(self) -> None:
        """Let nothing more fit on its disk."""
        filler = os.open(self.disk / "filler", os.O_CREAT | os.O_WRONLY)
        size = 1 << 20
        while size >= 512:
            try:
                os.write(filler, bytes(size))
            except OSError:
                size //= 2
        os.close(filler)

    def make_room(self) -> None:
        """Remove what fills its disk."""
        (self.disk / "filler").unlink()

    @property
    def url(self) -> str:
        """Where the API server answers."""
        return f"https://{self.address}:{_PORT}"

    def start(self) -> None:
        """Start the API server; it may not answer yet."""
        files = {"tls-cert": "server.crt", "tls-key": "server.key", "client-ca": "ca.crt"}
        flags = [f"--{flag}={self.folder / name}" for flag, name in files.items()]
        listen = f"--listen={self.address}:{_PORT}"
        argv = [*_SLOWLY, *program("apiserver"), f"--store={self.store}", listen, *flags]
        clock = {"LD_PRELOAD": str(self.folder / "clock.so"), "CLOCK_JUMP": str(self.jump)}
        argv = self.space.argv("env", *(f"{name}={value}" for name, value in clock.items()), *argv)
        with (self.folder / f"server-{self.name}.log").open("ab") as log:
            self.server = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self) -> None:
        """End the API server as a power cut would."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None

    def leads(self) -> bool:
        """Whether its member of etcd says that it is the leader."""
        if self.etcd is None or self.etcd.process is None:
            return False
        asked = f"{self.etcd.url}/v3/maintenance/status"
        said = self.space.run("curl", "-s", "-m", "1", "-d", "{}", asked, check=False)
        status = json.loads(said) if said.startswith("{") else {}
        return "leader" in status and status["leader"] == status["header"]["member_id"]

    def cut_peers(self) -> None:
        """Let no packet to or from another member of etcd through."""
        ports = f"{{ {_PEER_PORT} }}"
        rules = [
            f"add rule inet cut {hook} tcp {end} {ports} drop"
            for hook in ("input", "output")
            for end in ("sport", "dport")
        ]
        chains = [
            f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}"
            for hook in ("input", "output")
        ]
        self.space.run("nft", "-f", "-", stdin="\n".join(["add table inet cut", *chains, *rules]))

    def mend_peers(self) -> None:
        """Let them through again."""
        self.space.run("nft", "delete", "table", "inet", "cut")


@dataclass
class Site:
    """Machines on a switch, and a namespace for clients."""

    machines: list[Machine]
    clients: Space
    switch: Space
    folder: Path

    def leader(self) -> Machine:
        """Return the machine whose member of etcd leads, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for machine in self.machines:
                if machine.leads():
                    return machine
            time.sleep(0.1)
        raise AssertionError("etcd has no leader")

    def link(self, machine: Machine, state: str) -> None:
        """Unplug a machine, or plug it in again: ``state`` is down or up."""
        self.switch.ip("link", "set", machine.name, state)

    @contextmanager
    def history(self, file: Path) -> Iterator[None]:
        """Let clients work while the context lasts; their history is in the file then."""
        words = [str(self.folder), str(file), *(machine.url for machine in self.machines)]
        argv = (program("")[0], "-P", "-m", f"{__package__}.clients", *words)
        pipe = subprocess.PIPE
        with subprocess.Popen(self.clients.argv(*argv), stdin=pipe, stdout=pipe) as clients:
            try:
                assert clients.stdin and clients.stdout
                assert clients.stdout.readline() == b"ready\n", self.logs()
                yield
                clients.stdin.close()
                assert clients.wait(PATIENCE) == 0, self.logs()
            finally:
                clients.kill()

    def logs(self) -> str:
        """Return the ends of all logs."""
        ends = [f"{it}:\n{it.read_text()[-1500:]}" for it in sorted(self.folder.glob("**/*.log"))]
        return "\n".join(ends)


@contextmanager
def site(folder: Path, make: Callable[[str], Space], store: str, count: int = 1) -> Iterator[Site]:
    """Run API servers over a store, ``sqlite`` or ``etcd``, each on a machine of its own."""
    switch, clients = make("switch"), make("clients")
    switch.ip_batch("link add br0 type bridge", "link set br0 up")
    _join(clients, switch, "clients", "10.9.0.9")
    addresses = {name: f"10.9.0.{at}" for at, name in enumerate(_NAMES[:count], 1)}
    _certify(folder, list(addresses.values()))
    machines = [Machine(name, make(name), it, folder) for name, it in addresses.items()]
    found = Site(machines, clients, switch, folder)
    for machine in machines:
        _join(machine.space, switch, machine.name, machine.address)
    _give_stores(machines, store)
    _make_clock(folder)
    try:
        for machine in machines:
            machine.disk.mkdir()
            words = ["-t", "tmpfs", "-o", f"size={_DISK}", "disk", str(machine.disk)]
            subprocess.run(["mount", *words], check=True)
            machine.set_clock(0)
            if machine.etcd is not None:
                machine.etcd.start()
            machine.start()
        yield found
    finally:
        for machine in machines:
            machine.kill()
            if machine.etcd is not None:
                machine.etcd.kill()
            subprocess.run(["umount", "--lazy", machine.disk], check=True)


def _make_clock(folder: Path) -> None:
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "clock.so", source], check=True)


def _join(space: Space, switch: Space, name: str, address: str) -> None:
    switch.veth(name, space, "eth0")
    switch.ip("link", "set", name, "master", "br0")
    space.ip("address", "add", f"{address}/24", "dev", "eth0")


def _certify(folder: Path, addresses: list[str]) -> None:
    authority = create_authority("test")
    authority.save(folder, "ca")
    issue(authority, Identity("server", hosts=tuple(addresses))).save(folder, "server")
    issue(authority, Identity("admin", ("system:masters",))).save(folder, "admin")


def _give_stores(machines: list[Machine], store: str) -> None:
    """Say where each API server keeps its objects: of etcd's members it asks its own first."""
    if store == "sqlite":
        (machine,) = machines
        machine.store = f"sqlite:{machine.disk}/store.db"
        return
    members = [
        Etcd(
            it.disk,
            it.name,
            port=_CLIENT_PORT,
            peer=_PEER_PORT,
            host=it.address,
            enter=tuple(it.space.argv(*_SLOWLY)),
        )
        for it in machines
    ]
    cluster = ",".join(f"{member.name}={member.peer_url}" for member in members)
    for at, (machine, member) in enumerate(zip(machines, members, strict=True)):
        member.cluster = cluster
        machine.etcd = member
        urls = [each.url for each in members[at:] + members[:at]]
        machine.store = f"etcd:{','.join(urls)}"
