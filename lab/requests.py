"""What a command asks of a lab's first process, the keeper: to start a machine, to wait for nodes.

The keeper has imported all of podwire, and answers from a fork. So this module imports little: the
API's client and its models would take more of a processor than the rest of ``lab node add``.
"""

import json
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from control.reported import ReportedError
from lab.report import Say
from lab.state import LabDir

WAIT = b"wait "  # then JSON: the names of nodes, and since when their word counts
READY_SECONDS = 60
READY_SECONDS_PER_NODE = 10

_START_SECONDS = 120.0  # a machine is made in 0.1 s; a busy host may take long
_GRACE_SECONDS = 10.0  # for who waits, beyond the keeper's patience
Line: TypeAlias = dict[str, str]  # of an answer: "say" a text, "fail" for a reason, or "ready"


class MachineStartError(OSError):
    """A machine could not be started; the text says why."""


class NotReadyError(ReportedError):
    """A part of the running lab did not become ready in time; the text names it."""


def patience(nodes: int) -> float:
    """Return the seconds that so many nodes may take to become ready."""
    return READY_SECONDS + READY_SECONDS_PER_NODE * nodes


def start_machine(lab: LabDir, machine: str) -> None:
    """Start a machine whose first process was killed; return when its components are starting.

    It begins as a computer does after a power failure: with its files, and without processes.
    Raises MachineStartError.
    """
    try:
        with _asked(lab, machine.encode(), _START_SECONDS) as connection:
            answer = connection.makefile().read()
    except OSError as err:
        raise MachineStartError(
            f"machine {machine} cannot be started: the lab's first process does not answer: "
            f"{err}; make the lab anew with lab down and lab up"
        ) from err
    if answer != "ok":
        raise MachineStartError(answer or f"machine {machine} cannot be started: see keeper's log")


def wait_ready(lab: LabDir, expected: Collection[str], say: Say, *, since: float) -> None:
    """Wait until nodes are ready; raises NotReadyError, which names the others.

    A node's word counts if it has spoken at ``since``, in seconds since 1970, or later.
    """
    if not _keeper_waits(lab, expected, say, since):
        from lab import readiness

        readiness.wait_ready(lab, expected, say, since=since)


def _keeper_waits(lab: LabDir, expected: Collection[str], say: Say, since: float) -> bool:
    """Let the keeper wait; False if it cannot, as one of an older podwire. Raises NotReadyError."""
    wanted = {"names": sorted(expected), "since": since}
    try:
        with _asked(
            lab, WAIT + json.dumps(wanted).encode(), patience(len(expected)) + _GRACE_SECONDS
        ) as connection:
            for line in _lines(connection):
                if "say" in line:
                    say(line["say"])
                elif "fail" in line:
                    raise NotReadyError(line["fail"])
                else:
                    return "ready" in line
    except OSError:
        return False
    return False


@contextmanager
def _asked(lab: LabDir, request: bytes, seconds: float) -> Iterator[socket.socket]:
    """Yield a connection on which the keeper answers a request; raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(os.fspath(lab.requests))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        yield connection


def _lines(connection: socket.socket) -> Iterator[Line]:
    """Yield the lines of an answer until one is no JSON object."""
    for text in connection.makefile():
        try:
            line = json.loads(text)
        except ValueError:
            return
        if not isinstance(line, dict):
            return
        yield line
