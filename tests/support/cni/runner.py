"""A node, its Pods and a runtime that executes plugins in them, as libcni does."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.parts import program
from tests.support.space import Space

ROOT = Path(__file__).parents[3]
PYTHON_CLIENT = ROOT / "bin/podwire-cni"
C_CLIENT = ROOT / "build/podwire-cni"
REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
DEFAULT_DATA = Path("/var/lib/cni")
_SERVE = [*program("cni"), "serve"]
Json = dict[str, Any]


@dataclass
class Answer:
    """A plugin's exit code, standard output and standard error."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def document(self) -> Json:
        """The one JSON document. Fails if there is none, or more than one."""
        return json.loads(self.stdout)

    def ok(self) -> Self:
        """Return the answer. Fails unless the plugin succeeded."""
        assert self.code == 0, self
        return self


@dataclass
class Pod:
    """A container: an ID and a network namespace."""

    container_id: str
    space: Space

    def link(self, name: str = "eth0") -> Json:
        """One of its links, as iproute2 prints it."""
        return json.loads(self.space.ip("-d", "-j", "address", "show", "dev", name))[0]

    def addresses(self, name: str = "eth0") -> set[str]:
        """Its addresses of global scope."""
        return {
            f"{item['local']}/{item['prefixlen']}"
            for item in self.link(name)["addr_info"]
            if item["scope"] == "global"
        }

    def reaches(self, address: str, *options: str) -> bool:
        """True if one echo request is answered within a second."""
        out = self.space.run("ping", "-c1", "-W1", *options, address, check=False)
        return " 0% packet loss" in out


@dataclass
class Node:
    """A host: its network namespace, its files, and the program that it executes as the plugin."""

    space: Space
    files: Path
    plugin: Path = PYTHON_CLIENT
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 20)))

    def __post_init__(self) -> None:
        # a test without dataDir must not write into the machine's folder. bin/test made a mount
        # namespace, so this mount vanishes with the tests
        if not DEFAULT_DATA.is_mount():
            DEFAULT_DATA.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(DEFAULT_DATA)], check=True)

    @property
    def socket(self) -> Path:
        return self.files / "cni.sock"

    @property
    def data(self) -> Path:
        return self.files / "networks"

    def conf(self, **options: Any) -> Json:
        """The configuration that an agent writes, with ``options`` on top; None removes one."""
        ipam = {
            "type": "podwire",
            "dataDir": str(self.data),
            "ranges": [[{"subnet": "10.1.0.0/24"}]],
        }
        conf = {
            "cniVersion": "1.1.0",
            "name": "net",
            "type": "podwire-cni",
            "bridge": "pw0",
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipam": ipam,
        } | options
        return {key: value for key, value in conf.items() if value is not None}

    def ipam(self, *subnets: str, **options: Any) -> Json:
        """An ipam section with one range set for each subnet."""
        return {
            "type": "podwire",
            "dataDir": str(self.data),
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
        } | options

    def execute(
        self,
        conf: Json | bytes,
        plugin: Path | None = None,
        environment: dict[str, str] | None = None,
        **variables: str | None,
    ) -> Answer:
        """Execute a plugin with CNI_* ``variables``."""
        given = {f"CNI_{name.upper()}": value for name, value in variables.items()}
        env = {
            "PATH": os.environ["PATH"],
            "PODWIRE_CNI_SOCKET": str(self.socket),
            "PODWIRE_CNI_LINGER": "0",  # who wants a server says so
            "CNI_PATH": f"{self.plugin.parent}:{REFERENCE}",
        }
        env |= {name: value for name, value in given.items() if value is not None}
        done = subprocess.run(
            self.space.argv(str(plugin or self.plugin)),
            input=conf if isinstance(conf, bytes) else json.dumps(conf).encode(),
            env=env | (environment or {}),
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def call(self, verb: str, pod: Pod, conf: Json | None = None, **more: Any) -> Answer:
        """Execute the plugin for a Pod's attachment."""
        variables = {
            "command": verb,
            "containerid": pod.container_id,
            "netns": str(pod.space.path),
            "ifname": "eth0",
        } | more
        return self.execute(self.conf() if conf is None else conf, **variables)

    def add(self, pod: Pod, conf: Json | None = None, **more: Any) -> Json:
        """ADD, which must succeed. Returns its result."""
        return self.call("ADD", pod, conf, **more).ok().document

    def delete(self, pod: Pod, conf: Json | None = None, **more: Any) -> None:
        """DEL, which must succeed and print nothing."""
        assert self.call("DEL", pod, conf, **more).ok().stdout == b""

    def links(self) -> dict[str, Json]:
        """The host's links, without loopback."""
        found = json.loads(self.space.ip("-d", "-j", "link"))
        return {item["ifname"]: item for item in found if item["ifname"] != "lo"}

    def host_link(self, pod: Pod, ifname: str = "eth0") -> str:
        """The host's end of a Pod's interface, found by its alias."""
        found = [
            name
            for name, item in self.links().items()
            if item.get("ifalias", "").endswith(f" {ifname} {pod.container_id}")
        ]
        assert len(found) == 1, found
        return found[0]

    def reservations(self, network: str = "net") -> dict[str, str]:
        """The content of host-local's files, by address."""
        folder = self.data / network
        return {
            path.name: path.read_bytes().decode()
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.name != "lock" and not path.name.startswith("last_reserved_ip")
        }

    @contextmanager
    def served(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a warm server for the block. It must end without an error."""
        server = self.start_server()
        try:
            yield server
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) in {0, -signal.SIGKILL}

    def start_server(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a warm server, and return when it listens."""
        with (self.files / "server.log").open("ab") as log:
            server = subprocess.Popen(
                self.space.argv(*_SERVE, "--socket", str(self.socket), "-v"),
                env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert server.poll() is None, (self.files / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return server

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0
