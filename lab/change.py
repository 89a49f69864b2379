"""Changes a lab while it runs."""

import dataclasses
import os
import signal

from lab.components import save_components
from lab.spec import LabSpec, machines
from lab.state import LabDir
from lab.status import MachineNotFoundError, locate
from proxy.backends.base import missing


class BackendMissingError(OSError):
    """This machine lacks something that a backend needs; the text names it and the remedy."""


def require_backend(mode: str) -> None:
    """Raise BackendMissingError if this machine cannot run a backend.

    Otherwise only the logs of the nodes' proxies would say it.
    """
    if lacking := missing(mode):
        raise BackendMissingError(f"{mode}: {'; '.join(lacking)}")


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
