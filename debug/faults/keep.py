"""Heals a fault in time: a process that outlives the terminal, and ends with the lab.

It is in the process namespace of the lab, whose first process is the keeper. When that dies, the
kernel kills it too.
"""

import os
import signal
import time
from collections.abc import Callable

import setproctitle

from control.linux import syscalls
from control.linux.processes import start_ticks
from debug.faults.journal import Timer
from lab.linux import close_files
from lab.state import LabDir
from lab.supervise import fork

_LOG = ("lab", "faults")


def start(lab: LabDir, keeper: int, title: str, until: float, heal: Callable[[], None]) -> Timer:
    """Have ``heal`` called at a time; return the process that waits. Raises OSError.

    This process must have no threads.
    """
    reading, writing = os.pipe()

    def between() -> None:
        """Enter the lab's namespace, which counts for children only."""
        os.setsid()
        syscalls.enter(f"/proc/{keeper}/ns/pid", syscalls.CLONE_NEWPID)
        waiting = fork(lambda: _wait(lab, title, until, heal))
        os.write(writing, str(waiting).encode())

    made = fork(between)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read(20)
    os.waitpid(made, 0)
    started = start_ticks(int(text)) if text else None
    if started is None:
        raise OSError(f"no process waits to heal: {lab.log(*_LOG)} says why")
    return Timer(int(text), started)


def stop(timer: Timer) -> None:
    """End a process that waits, unless it is this one."""
    if timer.alive and timer.pid != _own_pid():
        os.kill(timer.pid, signal.SIGTERM)


def _own_pid() -> int:
    """This process as the machine sees it; getpid(2) tells its ID in the lab's namespace."""
    return int(os.readlink("/proc/self"))  # noqa: PTH115


def _wait(lab: LabDir, title: str, until: float, heal: Callable[[], None]) -> None:
    out = os.open(lab.log(*_LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(descriptor, target)
    close_files(keep={0, 1, 2})
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    setproctitle.setproctitle(f"podwire heals {title} of lab {lab.name}")
    while (left := until - time.time()) > 0:
        time.sleep(left)
    heal()
