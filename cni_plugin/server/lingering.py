"""The server that a call has left behind. It ends when nobody has called for a while.

    python3 -IS cni_plugin/server/lingering.py SOCKET SECONDS

It inherits the socket's lock (``leave.py``). It ends early when a file of the plugin, or the
interpreter, is no longer the one that it executes: the next call then leaves another server.
"""

import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

if not __package__:  # executed by its path
    sys.path.append(str(Path(__file__).parents[2]))

from cni_plugin.server.cgroups import join_first_process
from cni_plugin.server.leave import LOCK, lock_of

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_UNCHANGED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}
_LIMITS = 16  # RLIM_NLIMITS in include/uapi/asm-generic/resource.h


class Lingering:
    """The lifetime of a server that a call has left behind; callable from any thread.

    ``patience`` are seconds without a call, ``sources`` the files of the code, ``clock`` counts
    seconds.
    """

    def __init__(
        self,
        patience: float,
        sources: Iterable[Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._sources = {str(source): _state(str(source)) for source in sources}
        self._clock = clock
        self._last_call = clock()
        self._outdated = False

    def admits(self) -> bool:
        """Return true if the server may serve a call that has come now."""
        self._last_call = self._clock()
        self._outdated |= any(_state(path) != state for path, state in self._sources.items())
        return not self._outdated

    def remaining(self) -> float:
        """Return the seconds until the server ends if nobody calls; 0 if it ends now."""
        left = self._last_call + self._patience - self._clock()
        return 0 if self._outdated else max(0, left)


def dismiss(path: Path) -> bool:
    """End the server that a call has left on the socket ``path``.

    Returns true if there is one that this process can see.

    Raises OSError.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    process = int(_PEER.unpack(raw)[0])
    if process:  # not a server of another process namespace, which has no number here
        os.kill(process, signal.SIGTERM)
    return bool(process)


def _state(path: str) -> tuple[int, int]:
    """Return a file's time of change in ns, and its size; zeros if it is gone."""
    try:
        state = os.stat(path)  # noqa: PTH116  # of some 80 files for each call
    except FileNotFoundError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def main(path: Path, patience: float) -> None:
    """Serve on the socket ``path``. Raises OSError."""
    _forget_the_caller()
    # only now: these imports take a moment, and the caller's cgroup may have to be empty at once
    from cni_plugin.linux.host import read_boot_id
    from cni_plugin.server.daemon import serve

    _log()
    serve(path, read_boot_id(), Lingering(patience, _sources()))
    lock_of(path).unlink(missing_ok=True)


def _sources() -> list[Path]:
    """Return the files of the plugin that are imported, and the interpreter."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("cni_plugin.")]
    sources = [Path(module.__file__) for module in loaded if module.__file__]
    return [*sources, Path(__file__), Path(sys.executable)]


def _forget_the_caller() -> None:
    join_first_process()
    # not up to the limit: a caller may have lowered it below the numbers of open descriptors
    for descriptor in [int(file.name) for file in Path("/proc/self/fd").iterdir()]:
        if descriptor > LOCK:
            with suppress(OSError):  # the folder's own is closed already
                os.close(descriptor)
    for limit in range(_LIMITS):
        _take_limit(limit)
    _take_signals()
    _take_processors()
    os.chdir("/")
    os.umask(0o022)
    Path("/proc/self/oom_score_adj").write_text("0")  # a runtime may be spared by the OOM killer


def _take_signals() -> None:
    """Let no signal be blocked or ignored, but those that Python itself ignores."""
    for number in signal.valid_signals() - _UNCHANGED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _take_processors() -> None:
    """Run on the first process's processors, with its precedence: the caller may be bound to one.

    Where this process may not take more precedence, it keeps what it has.
    """
    os.sched_setaffinity(0, os.sched_getaffinity(1))
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.sched_getscheduler(1), os.sched_getparam(1))
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 1))


def _take_limit(limit: int) -> None:
    soft, hard = resource.prlimit(1, limit)
    try:
        resource.setrlimit(limit, (soft, hard))
    except ValueError:  # nobody on this machine may raise it: then as much as there is
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))


def _log() -> None:
    """Let warnings go to the system's log, since there is no standard error."""
    import logging
    import syslog

    class SystemLog(logging.Handler):
        """Hands records to syslog(3)."""

        def emit(self, record: logging.LogRecord) -> None:
            syslog.syslog(syslog.LOG_WARNING, self.format(record))

    syslog.openlog("podwire-cni", syslog.LOG_PID, syslog.LOG_DAEMON)
    logging.basicConfig(level=logging.WARNING, handlers=[SystemLog()])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
