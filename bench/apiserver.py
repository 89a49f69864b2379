"""An API server of a checkout, with a store and certificates of its own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.versus import Tree
from control.pki import Identity, create_authority, issue


@contextmanager
def running(tree: Tree, folder: Path, *options: str) -> Iterator[tuple[int, int]]:
    """Run ``podwire apiserver`` with a store in the folder; yield its port and process ID.

    The folder gets the authority ``ca.crt``, a client's ``admin.crt`` and ``admin.key``, the
    server's ``server.key`` and ``server.log``.
    """
    authority = create_authority("bench")
    authority.save(folder, "ca")
    issue(authority, Identity("server", hosts=("127.0.0.1",))).save(folder, "server")
    issue(authority, Identity("admin", ("system:masters",))).save(folder, "admin")
    files = {"tls-cert": "server.crt", "tls-key": "server.key", "client-ca": "ca.crt"}
    with (
        socket.create_server(("127.0.0.1", 0)) as bound,
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            [
                *(*tree.podwire, "apiserver", f"--store=sqlite:{folder}/store.db"),
                f"--listen-fd={bound.fileno()}",
                *(f"--{flag}={folder / name}" for flag, name in files.items()),
                *options,
            ],
            pass_fds=[bound.fileno()],
            cwd=tree.root,
            env=tree.environment,
            stderr=log,
        ) as process,
    ):
        try:
            yield int(bound.getsockname()[1]), process.pid
        finally:
            process.terminate()
