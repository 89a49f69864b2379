"""The control groups of bin/test-bare go, whoever kills it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

LIBRARY = Path(__file__).with_name("groups.bash")
_RUN = """
set -euo pipefail
. "$0"; claims=$1
claim_groups; start_guard; make_groups
echo "$guard ${groups[*]}"
exec sleep infinity
"""
_SWEEP = 'set -euo pipefail; . "$0"; claims=$1; sweep_groups'


class Run(NamedTuple):
    """A run as bin/test-bare's: its processes and its groups."""

    process: subprocess.Popen[str]
    guard: int
    groups: list[Path]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(claims: Path) -> Iterator[Run]:
    command = ["bash", "-c", _RUN, LIBRARY, claims]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        guard, *groups = process.stdout.readline().split()
        run = Run(process, int(guard), [Path(group) for group in groups])
        try:
            yield run
        finally:
            if process.poll() is None:
                run.kill()
            until(lambda: swept(claims, run))


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.02)


def swept(claims: Path, run: Run) -> bool:
    """Sweep; True once no group of a killed run is left."""
    subprocess.run(["bash", "-c", _SWEEP, LIBRARY, claims], check=True)
    return not any(group.exists() for group in run.groups)


def test_the_guard_outlives_the_killed_process_group(tmp_path: Path):
    with running(tmp_path) as run:
        assert run.groups and all(group.is_dir() for group in run.groups)
        run.kill()
        until(lambda: not list(tmp_path.iterdir()))
        assert not any(group.exists() for group in run.groups)


def test_the_next_run_removes_what_a_killed_guard_left_and_nothing_else(tmp_path: Path):
    with running(tmp_path) as other, running(tmp_path) as run:
        os.kill(run.guard, signal.SIGKILL)
        run.kill()
        assert all(group.is_dir() for group in run.groups)
        until(lambda: swept(tmp_path, run))  # killed processes hold the claim until they have ended
        assert all(group.is_dir() for group in other.groups)
        assert len(list(tmp_path.iterdir())) == 1
