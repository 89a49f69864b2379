"""Kill a store with SIGKILL before each line of its code, and start it again.

    python -m tests.support.control.kills FOLDER

Prints how many kills there were; fails if a start was wrong. It forks, so it has no threads.
"""

import asyncio
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from control.store.base import Create
from control.store.sqlite.store import SqliteStore

Line = tuple[str, int]  # file, number


class Tracer:
    """Collects which lines of the store's code run; kills before a given one."""

    def __init__(self, end: Line = ("", 0)) -> None:
        self.lines: set[Line] = set()
        self.end = end

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        name = frame.f_code.co_filename
        if "control/store/sqlite" not in name:
            return None
        if event == "line":
            line = (name, frame.f_lineno)
            self.lines.add(line)
            if line == self.end:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


async def live(path: Path, acknowledged: int) -> None:
    """Open a store, commit twice, compact, and close it."""
    store = await SqliteStore.open(path, synchronous="NORMAL")
    for n in range(2):
        await store.commit(Create(f"/{n}", b"x"))
        os.write(acknowledged, b".")
    await store.compact(1)
    await store.close()


async def check(path: Path, acknowledged: int) -> None:
    """Start again: all that was acknowledged is there, and more can be written."""
    store = await SqliteStore.open(path, synchronous="NORMAL")
    if store.revision < os.fstat(acknowledged).st_size:
        raise SystemExit(f"it ends at revision {store.revision}")
    await store.commit(Create("/more", b"x"))
    await store.close()


def traced(tracer: Tracer, folder: Path, acknowledged: int) -> None:
    """Live under a tracer, in all threads."""
    threading.settrace(tracer)
    sys.settrace(tracer)
    asyncio.run(live(folder / "store.db", acknowledged))
    sys.settrace(None)
    lines = (f"{name} {number}" for name, number in sorted(tracer.lines))
    (folder / "lines").write_text("\n".join(lines))


def in_a_child(work: Callable[[], None]) -> int:
    """Run something in a forked process; returns how it ended."""
    child = os.fork()
    if not child:
        with ExitStack() as stack:
            stack.callback(os._exit, 1)
            stack.callback(traceback.print_exc)
            work()
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin_and_end(folder: Path, tracer: Tracer) -> int:
    """Run a store until it is killed or ends, and start it again; returns how the first ended."""
    folder.mkdir()
    acknowledged = os.open(folder / "acknowledged", os.O_RDWR | os.O_CREAT)
    ended = in_a_child(lambda: traced(tracer, folder, acknowledged))
    restarted = in_a_child(lambda: asyncio.run(check(folder / "store.db", acknowledged)))
    os.close(acknowledged)
    if restarted or ended not in (0, -signal.SIGKILL):
        raise SystemExit(f"{tracer.end}: the run ended {ended}, the next one {restarted}")
    return ended


def main(folder: Path) -> None:
    """Kill before the first visit of each line."""
    if begin_and_end(folder / "whole", Tracer()):
        raise SystemExit("a run without a kill failed")
    lines = [line.split() for line in (folder / "whole/lines").read_text().splitlines()]
    kills = 0
    for name, number in lines:
        ended = begin_and_end(folder / "killed", Tracer((name, int(number))))
        kills += ended == -signal.SIGKILL  # which lines threads run varies a little
        shutil.rmtree(folder / "killed")
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
