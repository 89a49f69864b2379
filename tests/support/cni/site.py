"""A node with a warm server and a network outside, and programs that send and answer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cni.runner import Json, Node, Pod
from tests.support.space import Space

Spaces = Callable[[str], Space]
OUTSIDE, HOST = "192.0.2.9", "192.0.2.1"
OUTSIDE6, HOST6 = "2001:db8::9", "2001:db8::1"
_SERVER = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
listener = socket.socket(socket.AF_INET6, kind)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("::", int(sys.argv[2])))
if kind == socket.SOCK_STREAM:
    listener.listen()
print("ready", flush=True)
while True:
    if kind == socket.SOCK_DGRAM:
        data, peer = listener.recvfrom(1 << 16)
        listener.sendto((sys.argv[3] + " " + peer[0]).encode(), peer)
    else:
        connection, peer = listener.accept()
        connection.sendall((sys.argv[3] + " " + peer[0]).encode())
        connection.close()
"""
_CLIENT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
connection = socket.socket(family, kind)
connection.settimeout(float(sys.argv[5]))
if int(sys.argv[4]):
    connection.bind(("", int(sys.argv[4])))
try:
    connection.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM:
        connection.send(b"?")
    print(connection.recv(200).decode())
except OSError as err:
    print("error", err)
"""


@contextmanager
def listening(space: Space, name: str, port: int = 80, protocol: str = "tcp") -> Iterator[None]:
    """Run a server in a namespace. It answers with its name and its client's address."""
    argv = space.argv(sys.executable, "-c", _SERVER, protocol, str(port), name)
    server = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
    finally:
        server.kill()
        server.communicate()


def ask(
    space: Space, address: str, port: int, protocol: str = "tcp", source: int = 0, wait: float = 5
) -> str:
    """A server's answer; ``error ...`` if there is none within ``wait`` seconds."""
    argv = [sys.executable, "-c", _CLIENT, protocol, address, str(port), str(source), str(wait)]
    return space.run(*argv).strip()


def is_answered(space: Space, address: str, port: int) -> bool:
    """True if a server answers within a second; for tests that expect no answer."""
    return not ask(space, address, port, wait=1).startswith("error")


@dataclass
class Site:
    """A node, a namespace outside without routes to Pods, and a function that makes Pods.

    ``options`` go into every configuration.
    """

    node: Node
    outside: Space
    pod: Callable[[], Pod]
    options: Json

    def conf(self, **options: Any) -> Json:
        """The node's configuration with the site's options."""
        return self.node.conf(**self.options | options)


@contextmanager
def served_site(spaces: Spaces, files: Path, **options: Any) -> Iterator[Site]:
    """A site whose node has a warm server during the block."""
    node = Node(spaces("node"), files)
    outside = spaces("outside")
    node.space.veth("up0", outside, "down0")
    for space, name, four, six in (
        (node.space, "up0", HOST, HOST6),
        (outside, "down0", OUTSIDE, OUTSIDE6),
    ):
        space.ip("address", "add", f"{four}/24", "dev", name)
        space.ip("address", "add", f"{six}/64", "dev", name, "nodad")
    node.space.ip("route", "add", "default", "via", OUTSIDE)
    node.space.ip("-6", "route", "add", "default", "via", OUTSIDE6)

    def pod() -> Pod:
        return Pod(f"c{next(node.numbers)}", spaces("pod"))

    with node.served():
        yield Site(node, outside, pod, options)


def mapped(*mappings: str) -> dict:
    """A runtimeConfig of mappings such as ``8080-80/tcp`` or ``192.0.2.1-8080-80/udp``."""
    parsed = []
    for text in mappings:
        ports, _, protocol = text.partition("/")
        *on, host, inside = ports.split("-")
        parsed.append({"hostPort": int(host), "containerPort": int(inside), "protocol": protocol})
        if on:
            parsed[-1]["hostIP"] = on[0]
    return {"portMappings": parsed}


BACKENDS = ("nftables", "iptables-nft", "iptables-legacy")


@contextmanager
def on_path(backend: str, folder: Path) -> Iterator[str]:
    """Give the plain iptables commands the backend's flavor. Yields the backend's option."""
    name, _, flavor = backend.partition("-")
    for command in ("iptables", "ip6tables") if flavor else ():
        for verb in ("", "-save", "-restore"):
            target = shutil.which(f"{command}-{flavor}{verb}", path="/usr/sbin:/sbin")
            assert target, "Debian: iptables"
            (folder / f"{command}{verb}").symlink_to(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield name


def traces(space: Space) -> str:
    """All lines of the packet filter that name podwire."""
    commands = [["nft", "list", "ruleset"]]
    for name in ("iptables", "ip6tables"):
        commands += [[f"{name}-nft-save"], [f"{name}-legacy-save"]]
    shown = "\n".join(space.run(*command) for command in commands)
    return "\n".join(line for line in shown.splitlines() if "podwire" in line.lower())
