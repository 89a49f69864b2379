"""The interface of every backend, and the table of backends."""

from collections.abc import Iterable, Mapping, Sequence, Set
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from proxy.desired.desired import Desired
from proxy.linux.nft_events import NftEvent
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, NodeView


class RuleCount(NamedTuple):
    """How many rules of ours a table has, and how many of them the last ``apply`` wrote."""

    family: Family
    table: str
    total: int
    written: int


class Backend(Protocol):
    """Makes the kernel follow the desired state. Call it from one thread at a time."""

    def load_early(self) -> None:
        """Begin, in another thread, what needs no desired state. The first ``apply`` waits for
        it.
        """

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring the kernel to ``want``. Raises KernelRefusedError.

        After a failure the kernel's state counts as unknown, and the next call writes everything
        again.
        """

    def rewrites(self, node: NodeView) -> frozenset[Family]:
        """Return the families that ``apply`` would write whole now: at the start, after a failure,
        after another program's change, and where rules depend on a node that has changed.
        """

    @property
    def is_unfinished(self) -> bool:
        """True if ``apply`` has to be called again, also without a change, to bring in the rest."""

    @property
    def held(self) -> Set[Key]:
        """The Services of which the state before is still in force while ``is_unfinished``."""

    def rule_counts(self) -> Iterable[RuleCount]:
        """Return the rules of each table, where that is what the kernel walks along."""

    def packet_counts(self) -> Mapping[str, int]:
        """Return the packets that the kernel's named counters have counted. Raises OSError."""

    @property
    def is_blind(self) -> bool:
        """True if the kernel sends no events about these rules, so that it has to be asked."""

    @property
    def needs_bridge_filter(self) -> bool:
        """True if a bridge of Pods has to pass its frames to netfilter's rules: only they see to it
        that an answer to a neighbor comes from the Service.
        """

    @property
    def guarded_ports(self) -> Mapping[int, int] | None:
        """The ports of bridges, by interface index, whose frames programs can decide on by policies
        (``proxy.backends.ebpf.policy``), each with its bridge's index; None if there are no such
        programs. Any thread may ask.
        """

    def disturbed(self, events: Sequence[NftEvent]) -> str:
        """Return a description of other programs' changes to the rules since the last ``apply``.

        Empty if there were none. After a change the kernel's state counts as unknown. Raises
        KernelRefusedError.
        """

    def exists(self) -> bool:
        """Return True if any run of this backend left rules. Raises KernelRefusedError."""

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove everything that any run of this backend wrote. A second call does nothing.

        ``keep_own`` keeps what this object has in force, and removes what runs with other options
        left. Raises KernelRefusedError.
        """


class BackendModule(Protocol):
    """A backend's module. It can be asked about this machine without making a backend."""

    SHOW_COMMAND: str  # the command line that shows a node's rules for IPv4

    def open_backend(self, settings: ProxySettings, options: Mapping[str, str]) -> Backend:
        """Make the backend. ``options`` are those of ``ProxyConfig.backend_options``."""

    def missing(self) -> Sequence[str]:
        """Return what this machine lacks, each with its remedy; empty if nothing."""


# --proxy-mode: the backend's module.
BACKENDS: Mapping[str, str] = {
    "iptables": "proxy.backends.iptables.backend",
    "nftables": "proxy.backends.nftables.backend",
    "ebpf": "proxy.backends.ebpf.backend",
}

# Modes whose rules have kube-proxy's names, so that nobody can tell whose they are.
SHARED_WITH_UPSTREAM: frozenset[str] = frozenset({"iptables"})

# Modes that know how many connections an endpoint has; the others balance at random.
COUNTING: frozenset[str] = frozenset({"ebpf"})

# A mode that leaves some packets to another mode's rules, which stay in force beside it.
STANDS_ON: Mapping[str, str] = {"ebpf": "nftables"}


def open_backend(mode: str, settings: ProxySettings, options: Mapping[str, str]) -> Backend:
    """Make the backend of ``mode``."""
    return _module(mode).open_backend(settings, options)


def missing(mode: str) -> Sequence[str]:
    """Return what this machine lacks for ``mode``, each with its remedy; empty if nothing."""
    return _module(mode).missing()


def show_command(mode: str) -> str:
    """Return the command line that shows a node's rules in ``mode``, for IPv4."""
    return _module(mode).SHOW_COMMAND


def _module(mode: str) -> BackendModule:
    """Import one backend, and none of the others."""
    return cast("BackendModule", import_module(BACKENDS[mode]))
