"""Changing a lab while it runs."""

import dataclasses
import os
import signal

from lab.components import save_components
from lab.spec import LabSpec, machines
from lab.state import LabDir
from lab.status import locate


def set_proxy(lab: LabDir, spec: LabSpec, mode: str) -> None:
    """Have every node balance Services by ``mode`` from now on; raises OSError.

    The new proxy takes over the old one's rules, so that no connection is lost.
    """
    changed = dataclasses.replace(spec, proxy=mode)
    lab.write_spec(changed)
    for machine in machines(changed)[1:]:
        save_components(lab, machine)
        os.kill(locate(lab, machine.name).pid, signal.SIGHUP)
