"""Compile what units run, before they start.

A checkout keeps its bytecode in a folder of its own, into which no unit may write: each start would
compile again all that it imports, for seconds. (pip has compiled what is in a wheel.)
"""

import os
import subprocess
from collections.abc import Sequence

from control.install.layout import InstallError, Program
from control.install.progress import Progress

_FOLDER = "PYTHONPYCACHEPREFIX"
_UNWANTED = "PYTHONDONTWRITEBYTECODE"
_LOAD = """
import sys
from lab import main
for part in sys.argv[1:]:
    main.load_whole(part)
if "agent" in sys.argv:
    main.load_for_containerd()
"""
_SECONDS = 120.0


def compile_parts(program: Program, parts: Sequence[str], progress: Progress) -> None:
    """Import parts once, as one who writes bytecode that all may read; raises InstallError."""
    given = dict(program.environment)
    if _FOLDER not in given:
        return
    environment = os.environ | given
    environment.pop(_UNWANTED, None)
    with progress.step(f"bytecode in {given[_FOLDER]}"):
        try:
            done = subprocess.run(
                [program.python, "-P", "-c", _LOAD, *parts],
                env=environment,
                umask=0o022,  # units have users of their own
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise InstallError(
                f"podwire's parts were not imported in {_SECONDS:.0f} s: run this again when the "
                "machine has less to do"
            ) from err
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise InstallError(f"podwire's parts cannot be imported: {said[-1]}; run podwire setup")
