"""The ebpf backend: hooks balance at the socket what they can, nftables all other packets."""

from collections.abc import Mapping, Sequence

from proxy.backend import STANDS_ON
from proxy.backend import open_backend as open_other
from proxy.claims import Claims, Step
from proxy.ebpf.hooks import Hooks, remove_hooks
from proxy.ebpf.table import Table
from proxy.errors import KernelRefused
from proxy.memory import give_back
from proxy.model import NodeView
from proxy.nft_events import Touch
from proxy.settings import Settings
from proxy.state import Desired


class EbpfBackend:
    """Packets first, so that whatever a hook leaves as it is meets rules that know it."""

    def __init__(self, settings: Settings, root: str) -> None:
        self._settings = settings
        self._root = root
        self._packets = open_other(STANDS_ON["ebpf"], settings, {})
        self._claims = Claims(settings)
        self._table = Table()
        self._hooks: Hooks | None = None
        self._known = False  # whether the maps hold what the table says
        self._node = NodeView("")

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring rules and maps to ``want``; raises KernelRefused."""
        steps = self._claims.update(want)
        try:
            self._packets.apply(want, node)
        finally:
            try:
                self._balance(steps, node)
            except OSError as err:  # of the file systems where cgroups and pins are
                raise KernelRefused(f"ebpf: {err}") from err

    def _balance(self, steps: list[Step], node: NodeView) -> None:
        known, self._known = self._known and node.addresses == self._node.addresses, False
        self._node = node
        if self._hooks is None:
            self._hooks = Hooks(self._settings, self._root)
        if known:
            self._hooks.write(self._table.advance(steps))
        else:
            self._load(self._hooks, node)
        self._known = True

    def _load(self, hooks: Hooks, node: NodeView) -> None:
        """Write everything anew."""
        self._table = Table()
        everything = (Step(one, None, claim) for one, claim in self._claims.winners())
        places = (one for one in node.addresses if self._settings.is_node_port_address(one))
        hooks.load(self._table.advance(everything), places)
        give_back()

    @property
    def is_blind(self) -> bool:
        """The kernel tells of nftables' rules, but not of hooks."""
        return True

    def disturbed(self, touches: Sequence[Touch]) -> str:
        """What somebody else did to rules or hooks; then these are written anew."""
        what = self._packets.disturbed(touches)
        if self._known and self._hooks and not self._hooks.are_attached():
            self._known = False
            what = "; ".join(filter(None, (what, "hooks of the cgroup were removed")))
        return what

    def remove(self, *, keep_own: bool = False) -> None:
        """Detach and remove hooks and maps. The rules are nftables' own, which removes them."""
        if not keep_own:
            remove_hooks()


def open_backend(settings: Settings, options: Mapping[str, str]) -> EbpfBackend:
    """``cgroup-root`` says whose sockets the hooks serve."""
    return EbpfBackend(settings, options.get("cgroup-root", ""))
