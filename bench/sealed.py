"""Namespaces of its own for a benchmark, with a parent outside that ends all of it at a signal."""

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

_INSIDE = "PODWIRE_BENCH_INSIDE"
_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_sealed() -> bool:
    """True if this process runs inside the namespaces."""
    return _INSIDE in os.environ


def seal(script: str, outside: AbstractContextManager[str] | None = None) -> str:
    """Start this program again in network, mount and process namespaces of its own.

    The shell ``script`` prepares there what the benchmark needs. Inside, the call returns what
    ``outside`` provides. Outside, it waits and ends the program with the same status. At Ctrl-C or
    a signal it kills all processes inside; the kernel removes the namespaces with them, and the
    end of the context ``outside`` removes what is not in a namespace.
    """
    if is_sealed():
        return os.environ[_INSIDE]
    if os.geteuid() != 0:
        raise SystemExit("bin/bench: run as root: the benchmarks make network namespaces")
    with outside or nullcontext("yes") as provided:
        inner = subprocess.Popen(
            # If this process is killed, the kernel kills unshare, and with it all inside.
            ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, *_again(script)],
            env=os.environ | {_INSIDE: provided},
            start_new_session=True,  # Ctrl-C comes to this process alone
        )
        _hurry(inner.pid)
        status = _wait(inner)
    sys.exit(status)


def _hurry(pid: int) -> None:
    """Give the benchmark's session precedence, so that other work on the machine delays it less.

    The scheduler weighs sessions against each other before processes (sched(7), autogroup).
    """
    autogroup = Path(f"/proc/{pid}/autogroup")
    if autogroup.exists():
        autogroup.write_text("-20")
    os.setpriority(os.PRIO_PGRP, pid, -20)


def _again(script: str) -> list[str]:
    command = [sys.executable, *sys.orig_argv[1:]]
    return ["sh", "-ec", f'{script}; exec "$@"', "sh", *command]


def _wait(inner: subprocess.Popen[bytes]) -> int:
    """The exit status: the program's, or the one that shells give for a signal."""
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        inner.kill()

    for number in _SIGNALS:
        signal.signal(number, stop)
    status = inner.wait()
    if stopped:
        print(f"bin/bench: stopped by {signal.Signals(stopped[0]).name}", file=sys.stderr)
        return 128 + stopped[0]
    return status if status >= 0 else 128 - status
