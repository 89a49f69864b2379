"""The CNI plugin of a checkout, installed and served by its own commands."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.versus import Tree

HOME = Path("/run/podwire-bench")
# Without a C client that was built, the command installs the Python client.
_HIDE_C_CLIENT = 'mount -t tmpfs tmpfs "$1/build"; shift; exec "$@"'


def program(tree: Tree, client: str) -> Path:
    """The path of a client, ``c`` or ``python``, that ``install`` installs."""
    return HOME / (tree.name or "this") / client / "podwire-cni"


def socket(tree: Tree) -> str:
    """The path of the socket that ``served`` serves."""
    return str(HOME / (tree.name or "this") / "cni.sock")


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
