"""The plugin in one process: what the client becomes where no server takes its request."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from cni_plugin.plugin import answer
from cni_plugin.world import World, open_namespace, read_boot_id


def main(environment: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Answer one request; returns the exit code."""
    logging.basicConfig(format="podwire-cni: %(levelname)s: %(message)s", level=logging.WARNING)
    world = World(
        root=Path("/"),
        netns=open_namespace(environment.get("CNI_NETNS", "")),
        boot_id=read_boot_id(),
    )
    done = answer(environment, stdin.read(), world)
    stdout.write(done.stdout)
    stdout.flush()
    return done.code


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.stdin.buffer, sys.stdout.buffer))
