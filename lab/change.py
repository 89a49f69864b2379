"""Changes a lab while it runs."""

import dataclasses
import os
import signal
import socket

from lab.components import save_components
from lab.spec import LabSpec, machines
from lab.state import LabDir
from lab.status import MachineNotFoundError, locate
from proxy.backends.base import missing

_START_SECONDS = 120.0  # a machine is made in 0.1 s; a busy host may take long


class BackendMissingError(OSError):
    """This machine lacks something that a backend needs; the text names it and the remedy."""


def require_backend(mode: str) -> None:
    """Raise BackendMissingError if this machine cannot run a backend.

    Otherwise only the logs of the nodes' proxies would say it.
    """
    if lacking := missing(mode):
        raise BackendMissingError(f"{mode}: {'; '.join(lacking)}")


class MachineStartError(OSError):
    """A machine could not be started; the text says why."""


def start_machine(lab: LabDir, machine: str) -> None:
    """Start a machine whose first process was killed; return when its components are starting.

    It begins as a computer does after a power failure: with its files, and without processes.
    Raises MachineStartError.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_START_SECONDS)
        try:
            connection.connect(os.fspath(lab.requests))
            connection.sendall(machine.encode())
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile().read()
        except OSError as err:
            raise MachineStartError(
                f"machine {machine} cannot be started: the lab's first process does not answer: "
                f"{err}; make the lab anew with lab down and lab up"
            ) from err
    if answer != "ok":
        raise MachineStartError(answer or f"machine {machine} cannot be started: see keeper's log")


def set_proxy(lab: LabDir, spec: LabSpec, mode: str) -> None:
    """Let every node balance Services by ``mode`` from now on; raises OSError.

    The new proxy takes over the old one's rules, so that no connection is lost. Nodes that were
    killed are skipped, and named at the end by MachineNotFoundError.
    """
    require_backend(mode)
    changed = dataclasses.replace(spec, proxy=mode)
    lab.write_spec(changed)
    dead = []
    for machine in machines(changed)[1:]:
        save_components(lab, machine)
        try:
            os.kill(locate(lab, machine.name).pid, signal.SIGHUP)
        except MachineNotFoundError as err:
            dead.append(str(err))
    if dead:
        raise MachineNotFoundError(
            f"the running nodes balance by {mode} now, but {'; '.join(dead)}"
        )
