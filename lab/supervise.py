"""The first process of a machine: starts its components, restarts those that end, reaps orphans.

It never starts a thread and never imports netlink or asyncio machinery into use: it forks.
Components are forked with everything imported already, instead of executed, because importing
costs each of them more CPU than all the rest of its start.
"""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import setproctitle

from lab.spec import Component

# A component that lived this long is restarted at once; one that did not waits ever longer.
STABLE_SECONDS = 5.0
MAX_DELAY_SECONDS = 5.0

Run = Callable[[Sequence[str]], None]  # runs one podwire command line in this process

_WATCHED = {signal.SIGCHLD, signal.SIGTERM}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A component's process."""

    component: Component
    started: float  # monotonic seconds
    delay: float  # that its start had waited, seconds


def next_delay(lived: float, delay: float) -> float:
    """How long to wait before a restart, after a life of ``lived`` that had waited ``delay``."""
    if lived >= STABLE_SECONDS or delay == 0:
        return 0.0 if lived >= STABLE_SECONDS else 0.1
    return min(2 * delay, MAX_DELAY_SECONDS)


def fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a new process that ends with it; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        child()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:  # nothing above this frame belongs to the child
        logging.getLogger(__name__).exception("a forked process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def supervise(components: Sequence[Component], log_of: Callable[[str], str], run: Run) -> None:
    """Keep ``components`` running until SIGTERM; only ever returns after that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    gc.freeze()  # what is imported is shared with the forks, and stays so
    running: dict[int, Running] = {}
    waiting = [(0.0, 0.0, component) for component in components]  # (due, delay, component)
    while True:
        now = time.monotonic()
        for item in [item for item in waiting if item[0] <= now]:
            waiting.remove(item)
            _, delay, component = item
            pid = _start(component, log_of(component.name), run)
            running[pid] = Running(component, time.monotonic(), delay)
        timeout = min((due - now for due, _, _ in waiting), default=3600.0)
        got = signal.sigtimedwait(_WATCHED, max(timeout, 0.01))
        if got is not None and got.si_signo == signal.SIGTERM:
            return _stop(running)
        for ended in _reap(running):
            delay = next_delay(time.monotonic() - ended.started, ended.delay)
            waiting.append((time.monotonic() + delay, delay, ended.component))


def _start(component: Component, log: str, run: Run) -> int:
    def become() -> None:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        setproctitle.setproctitle(f"podwire {' '.join(component.argv)}")
        run(component.argv)

    return fork(become)


def _reap(running: dict[int, Running]) -> list[Running]:
    """Collect every ended child; returns those that were components."""
    ended: list[Running] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid in running:
            ended.append(running.pop(pid))


def _stop(running: dict[int, Running]) -> None:
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while running and time.monotonic() < deadline:
        _reap(running)
        time.sleep(0.02)
