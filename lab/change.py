"""Changing a lab while it runs."""

import dataclasses
import os
import signal

from lab.components import save_components
from lab.spec import LabSpec, machines
from lab.state import LabDir
from lab.status import locate
from proxy.ebpf.hooks import OBJECT


class BackendMissing(OSError):
    """A backend needs something that this machine does not have; the text says what to do."""


def require_backend(mode: str) -> None:
    """Raises BackendMissing now rather than have every node's proxy say so in its log."""
    if mode == "ebpf" and not OBJECT.exists():
        raise BackendMissing(
            "ebpf: its programs are not built: apt-get install clang libbpf-dev, then try again"
        )


def set_proxy(lab: LabDir, spec: LabSpec, mode: str) -> None:
    """Have every node balance Services by ``mode`` from now on; raises OSError.

    The new proxy takes over the old one's rules, so that no connection is lost.
    """
    require_backend(mode)
    changed = dataclasses.replace(spec, proxy=mode)
    lab.write_spec(changed)
    for machine in machines(changed)[1:]:
        save_components(lab, machine)
        os.kill(locate(lab, machine.name).pid, signal.SIGHUP)
