"""Loads br_netfilter, a kernel module that a lab needs and that its nodes cannot load.

Without it, packets between two Pods of one node pass the bridge without the node's rules, so that a
Pod does not reach Pods of its own node through a Service. Many kernels have it built in.
"""

import subprocess
from pathlib import Path

_KNOBS = Path("/proc/sys/net/bridge")  # this network namespace's; only the module has them
_CALLS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables")


class ModuleMissingError(OSError):
    """The kernel does not have the module, or refuses to load it."""


def is_bridge_filter_loaded() -> bool:
    """True if bridged packets can pass the rules of their network namespace."""
    return _KNOBS.exists()


def load_bridge_filter() -> None:
    """Load br_netfilter, but leave this network namespace's own bridges as they are.

    Namespaces made later begin with the filter on (Linux 5.3). Raises ModuleMissingError.
    """
    try:
        done = subprocess.run(
            ["modprobe", "br_netfilter"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as err:
        raise ModuleMissingError("there is no modprobe: install kmod") from err
    if done.returncode:
        raise ModuleMissingError(" ".join(done.stderr.split()))
    let_bridges_be()


def let_bridges_be() -> None:
    """Have bridges of this network namespace pass no frames to its rules, unless they say so
    themselves, as on a host that does not have the module. Raises OSError.
    """
    for name in _CALLS:
        (_KNOBS / name).write_text("0")
