"""The processes of the measurement: the API server, and the client that asks."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.versus import Tree
from control.pki import Identity, create_authority, issue

Waits = list[tuple[float, float]]  # (time of asking, seconds)


@contextmanager
def served(tree: Tree, folder: Path) -> Iterator[int]:
    """Run ``podwire apiserver`` with a store in the folder; yield its port."""
    authority = create_authority("bench")
    authority.save(folder, "ca")
    issue(authority, Identity("server", hosts=("127.0.0.1",))).save(folder, "server")
    issue(authority, Identity("admin", ("system:masters",))).save(folder, "admin")
    files = {"tls-cert": "server.crt", "tls-key": "server.key", "client-ca": "ca.crt"}
    flags = [f"--{flag}={folder / name}" for flag, name in files.items()]
    with (
        socket.create_server(("127.0.0.1", 0)) as bound,
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            [
                *tree.podwire,
                "apiserver",
                f"--store=sqlite:{folder}/store.db",
                f"--listen-fd={bound.fileno()}",
                f"--service-account-signing-key-file={folder}/server.key",
                *flags,
            ],
            pass_fds=[bound.fileno()],
            cwd=tree.root,
            env=tree.environment,
            stderr=log,
        ) as process,
    ):
        try:
            yield int(bound.getsockname()[1])
        finally:
            process.terminate()


@contextmanager
def asking(port: int, folder: Path) -> Iterator[Waits]:
    """Ask in another process while the block runs; then the list has all waits."""
    waits: Waits = []
    words = [sys.executable, "-P", "-m", "bench.hostile.asker", str(port), str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield waits
        out, _ = process.communicate()
    if process.returncode:
        raise SystemExit("bin/bench: the client that asks /healthz has failed")
    waits += [(begin, seconds) for begin, seconds in json.loads(out)]
