"""Other programs, found and executed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import CompletedProcess


def find(name: str, folders: str) -> Path | None:
    """The program of that name in the first of ``folders`` (as in PATH) that has it."""
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
    """Execute a program to its end; without ``stderr`` what it says there is captured too."""
    import subprocess  # most calls execute nothing, and it takes 2 ms

    return subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stderr is None else stderr,
        env=environment,
        pass_fds=descriptors,
        check=False,
    )
