"""Binding processes to CPUs."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

OURS = os.sched_getaffinity(0)
_OURS = sorted(OURS)


def placements() -> dict[str, tuple[set[int], set[int]]]:
    """The CPUs of clients and of servers, by a name: both on one CPU, and on two if there are two.

    Linux handles a packet through veth links on the CPU of its sender, so the two differ.
    """
    placed = {"1 CPU": ({_OURS[0]}, {_OURS[0]})}
    if len(_OURS) > 1:
        placed["2 CPUs"] = ({_OURS[0]}, {_OURS[1]})
    return placed


def apart() -> tuple[set[int], set[int]]:
    """The CPUs of clients and of servers: two if there are two."""
    return [*placements().values()][-1]


def pin(pids: Iterable[int], cpus: set[int]) -> None:
    """Bind each thread of the processes to ``cpus``; threads that they start later inherit it."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # the thread has ended
                os.sched_setaffinity(int(thread.name), cpus)
