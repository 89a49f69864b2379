"""Changing a lab while it runs."""

import dataclasses
import os
import signal

from lab.components import save_components
from lab.spec import LabSpec, machines
from lab.state import LabDir
from lab.status import MachineNotFoundError, locate
from proxy.backends.base import missing


class BackendMissingError(OSError):
    """A backend needs something that this machine does not have; the text says what to do."""


def require_backend(mode: str) -> None:
    """Raises BackendMissingError now rather than have every node's proxy say so in its log."""
    if lacking := missing(mode):
        raise BackendMissingError(f"{mode}: {'; '.join(lacking)}")


def set_proxy(lab: LabDir, spec: LabSpec, mode: str) -> None:
    """Have every node balance Services by ``mode`` from now on; raises OSError.

    The new proxy takes over the old one's rules, so that no connection is lost. A node that was
    killed holds up no other one; it is told of at the end.
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
            f"the nodes that run balance by {mode} now, but {'; '.join(dead)}"
        )
