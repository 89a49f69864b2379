"""The one seam between deciding and doing: what every backend is."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

from proxy.desired.desired import Desired
from proxy.linux.nft_events import NftEvent
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView


class Backend(Protocol):
    """Makes the kernel do what the desired state says. Called from one thread at a time."""

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring the kernel to ``want``; raises KernelRefusedError.

        After a failure the kernel's state counts as unknown, and the next call writes all anew.
        """

    @property
    def is_blind(self) -> bool:
        """Whether the kernel sends no events about these rules, so that it has to be asked."""

    def disturbed(self, touches: Sequence[NftEvent]) -> str:
        """What somebody else did to the rules since the last ``apply``; empty if nothing.

        If anything, the kernel's state counts as unknown from now on.
        """

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove everything that any run of this backend wrote; may be asked twice.

        ``keep_own`` spares what this one has in force, and so removes only what runs with other
        options left elsewhere.
        """


# --proxy-mode: the module whose ``open_backend(settings, options)`` makes the backend.
BACKENDS: Mapping[str, str] = {
    "iptables": "proxy.backends.iptables.backend",
    "nftables": "proxy.backends.nftables.backend",
    "ebpf": "proxy.backends.ebpf.backend",
}

# Modes that know how many connections an endpoint has; the others balance at random.
COUNTING: frozenset[str] = frozenset({"ebpf"})

# A mode that leaves some packets to another's rules: those stay in force beside it.
STANDS_ON: Mapping[str, str] = {"ebpf": "nftables"}


def open_backend(mode: str, settings: ProxySettings, options: Mapping[str, str]) -> Backend:
    """The backend of ``mode``; imports nothing of the others."""
    backend: Backend = import_module(BACKENDS[mode]).open_backend(settings, options)
    return backend
