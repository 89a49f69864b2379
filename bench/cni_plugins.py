"""The CNI plugin of a checkout, installed and served by its own commands."""

import os
import signal
import socket as sockets
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.cpus import apart, pin
from bench.versus import Tree
from cni_plugin.server.leave import SUFFIX

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
HOME = Path("/run/podwire-bench")
# Without a C client that was built, the command installs the Python client.
_HIDE_C_CLIENT = 'mount -t tmpfs tmpfs "$1/build"; shift; exec "$@"'


def program(tree: Tree, client: str) -> Path:
    """The path of a client, ``c`` or ``python``, that ``install`` installs."""
    return HOME / (tree.name or "this") / client / "podwire-cni"


def socket(tree: Tree, name: str = "cni.sock") -> str:
    """The path of the socket that ``served`` serves, or of another one."""
    return str(HOME / (tree.name or "this") / name)


def leaves_servers(tree: Tree) -> bool:
    """True if a call of the checkout's plugin leaves a server behind."""
    return (tree.root / "cni_plugin/server/lingering.py").exists()


def await_left_server(path: str) -> None:
    """Wait until the server that a call has left answers, and bind it to the servers' CPU."""
    while (server := _left_server(path)) is None:
        time.sleep(0.005)
    pin([server], apart()[1])


def end_left_server(path: str) -> None:
    """End the server that a call has left, and wait for its end."""
    if (server := _left_server(path)) is not None:
        os.kill(server, signal.SIGTERM)
        with suppress(ChildProcessError):  # where we are not the first process
            os.waitpid(server, 0)


def _left_server(path: str) -> int | None:
    """The process of the server that answers; None if there is none."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        if probe.connect_ex(f"{path}{SUFFIX}"):
            return None
        raw = probe.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(raw)[0])


def install(tree: Tree) -> None:
    """Put both clients where ``program`` says."""
    for client in ("c", "python"):
        folder = program(tree, client).parent
        command = [*tree.podwire, "cni", "install", "--no-conf", "--bin-dir", str(folder)]
        if client == "python":
            hide = ("unshare", "--mount", "sh", "-ec", _HIDE_C_CLIENT, "sh", str(tree.root))
            command = [*hide, *command]
        folder.mkdir(parents=True)
        subprocess.run(command, check=True, env=tree.environment, stdout=subprocess.DEVNULL)


@contextmanager
def served(tree: Tree) -> Iterator[int]:
    """A warm server; yields its process ID."""
    command = [*tree.podwire, "cni", "serve", "--socket", socket(tree)]
    server = subprocess.Popen(command, env=tree.environment)
    try:
        while not Path(socket(tree)).exists():
            if server.poll() is not None:
                raise SystemExit(f"the CNI server of {tree.root} has ended before it served")
            time.sleep(0.05)
        yield server.pid
    finally:
        server.terminate()
        server.wait()
