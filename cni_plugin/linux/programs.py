"""Finds and executes other programs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import CompletedProcess


def find(name: str, folders: str) -> Path | None:
    """The program of a name, in the first of ``folders`` (as in PATH) that has it."""
    paths = (Path(folder) / name for folder in folders.split(":") if folder)
    return next((path for path in paths if os.access(path, os.X_OK) and path.is_file()), None)


def execute(
    argv: Sequence[str | Path],
    stdin: bytes,
    *,
    environment: Mapping[str, str] | None = None,
    stderr: int | None = None,
    descriptors: Sequence[int] = (),
) -> "CompletedProcess[bytes]":
    """Execute a program and wait for its end. Without ``stderr``, standard error is captured.

    It inherits ``descriptors``. Raises OSError.
    """
    import subprocess  # importing it takes 2 ms, and most calls execute no program

    return subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stderr is None else stderr,
        env=environment,
        pass_fds=descriptors,
        check=False,
    )
