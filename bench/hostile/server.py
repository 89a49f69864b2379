"""The processes of the measurement: the API server, and the client that asks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.apiserver import running
from bench.versus import Tree

Waits = list[tuple[float, float]]  # (time of asking, seconds)


@contextmanager
def served(tree: Tree, folder: Path) -> Iterator[int]:
    """Run ``podwire apiserver`` with a store in the folder; yield its port."""
    key = f"--service-account-signing-key-file={folder}/server.key"
    with running(tree, folder, key) as (port, _):
        yield port


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
