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

_STOP_SECONDS = 5.0
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP}
logger = logging.getLogger(__name__)


class ComponentsError(Exception):
    """The list of components cannot be had; says why."""


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
    except KeyboardInterrupt:  # Ctrl-C is everybody's: who forked this process speaks of it
        code = 130
    except BaseException:  # nothing above this frame belongs to the child
        logging.getLogger(__name__).exception("a forked process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Supervisor:
    """Keeps the components that ``load`` names running, each with a log of its own.

    When ``load`` raises ComponentsError the components stay those it named before.
    """

    def __init__(
        self, load: Callable[[], Sequence[Component]], log_of: Callable[[str], str], run: Run
    ) -> None:
        self._load, self._log_of, self._run = load, log_of, run
        self._wanted: dict[str, Component] = {}
        self._running: dict[int, Running] = {}
        self._due: dict[str, tuple[float, float]] = {}  # name -> when to start, after which delay

    def supervise(self) -> None:
        """Run until SIGTERM; SIGHUP loads the components anew."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        gc.freeze()  # what is imported is shared with the forks, and stays so
        self._reload()
        while True:
            self._start_due()
            got = signal.sigtimedwait(_WATCHED, self._patience())
            if got is not None and got.si_signo == signal.SIGTERM:
                return self._stop()
            if got is not None and got.si_signo == signal.SIGHUP:
                self._reload()
            self._reap()

    def _reload(self) -> None:
        """Start what is new, end what is changed or gone; what is changed then starts anew."""
        try:
            self._wanted = {component.name: component for component in self._load()}
        except (
            ComponentsError
        ) as err:  # the machine is this process: it must not end for a bad file
            logger.error("the components stay as they are: %s", err)
        for pid, running in self._running.items():
            if self._wanted.get(running.component.name) != running.component:
                os.kill(pid, signal.SIGTERM)
        alive = {running.component.name for running in self._running.values()}
        for name in self._wanted.keys() - alive:
            self._due.setdefault(name, (0.0, 0.0))

    def _start_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, (due, _) in self._due.items() if due <= now]:
            _, delay = self._due.pop(name)
            if name in self._wanted:
                pid = _start(self._wanted[name], self._log_of(name), self._run)
                self._running[pid] = Running(self._wanted[name], now, delay)

    def _patience(self) -> float:
        """Seconds until the next start; an hour when none is due."""
        now = time.monotonic()
        return max(min((due - now for due, _ in self._due.values()), default=3600.0), 0.01)

    def _reap(self) -> None:
        """Collect every ended child, and note when those that were components start again."""
        now = time.monotonic()
        while (pid := _collect()) is not None:
            if (ended := self._running.pop(pid, None)) is None:
                continue  # an orphan that was handed to us
            name = ended.component.name
            changed = self._wanted.get(name) != ended.component
            delay = 0.0 if changed else next_delay(now - ended.started, ended.delay)
            self._due[name] = (now + delay, delay)

    def _stop(self) -> None:
        self._wanted = {}
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._running and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)


def _collect() -> int | None:
    """The pid of a child that has ended, which frees it; None if there is none."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


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
