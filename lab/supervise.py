"""The supervisor of a machine, its first process: keeps components running, and reaps orphans.

It has no threads and no event loop, because it forks. Components are forked, not executed, with all
imports done: imports would take more CPU than the rest of a component's start.
"""

import gc
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import setproctitle

from lab.spec import Component

# A component that ran for this time is restarted at once; otherwise the delay doubles.
STABLE_SECONDS = 5.0
MAX_DELAY_SECONDS = 5.0

Run = Callable[[Sequence[str]], None]  # runs one podwire command line in this process

_STOP_SECONDS = 5.0
_END_SECONDS = 2.0  # for containers; then the kernel kills them
# A component's log is moved aside beyond this size, and looked at this often.
LOG_BYTES = 16 * 1024 * 1024
_LOGS_EVERY = 60.0  # seconds
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP}
logger = logging.getLogger(__name__)


class ComponentsError(Exception):
    """The list of components cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A component's process."""

    component: Component
    started: float  # monotonic seconds
    delay: float  # seconds that its start had waited


def next_delay(lived: float, delay: float) -> float:
    """Return the delay of the next restart in seconds.

    The component ran for ``lived`` seconds, after a delay of ``delay``.
    """
    if lived >= STABLE_SECONDS or delay == 0:
        return 0.0 if lived >= STABLE_SECONDS else 0.1
    return min(2 * delay, MAX_DELAY_SECONDS)


def fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a new process, which ends when ``child`` returns; return its pid."""
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
    except KeyboardInterrupt:  # Ctrl-C also reaches the parent, which reports it
        code = 130
    except BaseException:  # the frames above this one belong to the parent
        logging.getLogger(__name__).exception("a forked process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Supervisor:
    """Keeps the components that ``load`` returns running, each with its own log.

    If ``load`` raises ComponentsError, the earlier components are kept.
    """

    def __init__(
        self, load: Callable[[], Sequence[Component]], log_of: Callable[[str], str], run: Run
    ) -> None:
        self._load, self._log_of, self._run = load, log_of, run
        self._wanted: dict[str, Component] = {}
        self._running: dict[int, Running] = {}
        self._due: dict[str, tuple[float, float]] = {}  # name -> (time to start, delay before it)

    def supervise(self) -> None:
        """Run until SIGTERM; SIGHUP reloads the components."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        gc.freeze()  # keeps the memory of imported modules shared with the forks
        self._reload()
        while True:
            self._start_due()
            for component in self._wanted:
                rotate(Path(self._log_of(component)))
            got = signal.sigtimedwait(_WATCHED, self._patience())
            if got is not None and got.si_signo == signal.SIGTERM:
                return self._stop()
            if got is not None and got.si_signo == signal.SIGHUP:
                self._reload()
            self._reap()

    def _reload(self) -> None:
        """Start new components, end removed ones, and restart changed ones."""
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
        """Return the seconds until the next start, or until the logs are looked at."""
        now = time.monotonic()
        soonest = min((due - now for due, _ in self._due.values()), default=_LOGS_EVERY)
        return max(min(soonest, _LOGS_EVERY), 0.01)

    def _reap(self) -> None:
        """Reap every ended child, and schedule the restart of components."""
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
        if os.getpid() == 1:  # of a machine's process namespace
            _end_others()


def _end_others() -> None:
    """Ask every other process of this machine to end, as a computer that is switched off does."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    with suppress(ChildProcessError):  # none is left
        while time.monotonic() < deadline:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.02)


def rotate(log: Path) -> None:
    """Move what a large log has into ``LOG.1``, and empty it.

    The component goes on with the same descriptor, which appends.
    """
    try:
        if log.stat().st_size < LOG_BYTES:
            return
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except FileNotFoundError:
        return  # the component has not been started yet
    except OSError as err:
        logger.error("rotate %s: %s; it will grow until there is room", log, err)


def _collect() -> int | None:
    """Reap one ended child, and return its pid; None if there is none."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def execute(argv: Sequence[str]) -> NoReturn:
    """Become a program that is no part of podwire; raises OSError."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would the program
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # a user's PATH lacks /usr/sbin
    os.execvpe(argv[0], tuple(argv), os.environ | {"PATH": path})  # noqa: S606  # no shell


def _start(component: Component, log: str, run: Run) -> int:
    def become() -> None:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if component.is_program:
            execute(component.argv)
        setproctitle.setproctitle(f"podwire {' '.join(component.argv)}")
        run(component.argv)

    return fork(become)
