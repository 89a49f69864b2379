"""The plugin in one process: what the client becomes where no server takes its request.

It is made to start fast: the client executes this file by its path with ``-IS``, so Python looks
for no packages; the plugin needs none but its own, and imports nothing that it does not need.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

gc.disable()  # importing makes no garbage, and the process ends before there is much
if not __package__:  # executed by its path
    sys.path.append(str(Path(__file__).parent.parent))

from cni_plugin.linux.host import Host, open_namespace, read_boot_id  # noqa: E402
from cni_plugin.verbs.answer import answer  # noqa: E402


def main(environment: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Answer one request; returns the exit code."""
    host = Host(
        root=Path("/"),
        netns=open_namespace(environment.get("CNI_NETNS", "")),
        boot_id=read_boot_id(),
    )
    done = answer(environment, stdin.read(), host)
    stdout.write(done.stdout)
    stdout.flush()
    return done.code


def _run() -> int:
    try:
        with open(0, "rb", closefd=False) as stdin, open(1, "wb", closefd=False) as stdout:
            return main(os.environ, stdin, stdout)
    except OSError as err:  # such as nobody who reads the answer: who asked will call DEL
        what = err.filename if isinstance(err.filename, str) else "standard input or output"
        os.write(2, f"podwire-cni: {what}: {err.strerror}\n".encode())
        return 1


if __name__ == "__main__":
    os._exit(_run())  # nothing is left to tidy up, and to do so takes Python 5 ms
