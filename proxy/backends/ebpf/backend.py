"""The ebpf backend: programs balance at sockets and by packets, nftables what they leave."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from proxy.backends.ebpf.hooks import SocketPrograms, remove_hooks
from proxy.backends.ebpf.options import EbpfOptions, parse_options
from proxy.backends.ebpf.packets import PacketPrograms, remove_inlets
from proxy.backends.ebpf.table import MapContents
from proxy.backends.nftables.backend import NftablesBackend
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.linux.memory import give_back
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView

logger = logging.getLogger("podwire.proxy.ebpf")


class EbpfBackend:
    """nftables first, so that whatever a program leaves as it is meets rules that know it."""

    def __init__(self, settings: ProxySettings, options: EbpfOptions) -> None:
        self._settings = settings
        self._options = options
        self._claims = ClaimResolver(settings)
        self._rules = NftablesBackend(settings, self._claims)
        self._table = MapContents(self._options)
        self._hooks: SocketPrograms | None = None
        self._packets: PacketPrograms | None = None
        self._known = False  # whether the maps hold what the table says
        self._node = NodeView("")

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring rules and maps to ``want``; raises KernelRefusedError."""
        steps = self._claims.update(want)
        commit_rules = self._rules.prepare(steps, node)
        known, self._known = self._known and node.addresses == self._node.addresses, False
        self._node = node
        if known and self._hooks:
            self._advance(self._hooks, steps, commit_rules)
        else:
            self._load(node, commit_rules)

    def _advance(
        self, hooks: SocketPrograms, steps: list[WinnerChange], commit_rules: Callable[[], None]
    ) -> None:
        try:
            commit_rules()
        finally:
            with _translated():
                hooks.maps.write(self._table.advance(steps))
            self._known = True

    def _load(self, node: NodeView, commit_rules: Callable[[], None]) -> None:
        """Write everything anew. Programs and maps are made ready beside libnftables, whose work
        Python need not wait for; they come into force after its rules.
        """
        with ThreadPoolExecutor(1) as helper:
            rules = helper.submit(commit_rules)
            with _translated():
                self._load_programs(node, lambda: wait([rules]))
            self._known = True
        rules.result()

    def _load_programs(self, node: NodeView, await_rules: Callable[[], object]) -> None:
        hooks = self._hooks = self._hooks or SocketPrograms(self._settings, self._options)
        self._table = MapContents(self._options)
        everything = (WinnerChange(one, None, claim) for one, claim in self._claims.winners())
        places = (one for one in node.addresses if self._settings.is_node_port_address(one))

        def get_ready() -> None:
            self._load_packets(hooks)
            await_rules()

        hooks.load(self._table.advance(everything), places, get_ready)
        with self._rules_alone_if_refused():
            if self._packets is not None:
                self._packets.begin()
        give_back()

    def _load_packets(self, hooks: SocketPrograms) -> None:
        self._forget_packets()
        with self._rules_alone_if_refused():
            self._packets = PacketPrograms(self._settings, hooks.library, hooks.maps)

    def _forget_packets(self) -> None:
        if self._packets is not None:
            self._packets.close()
        self._packets = None

    @contextmanager
    def _rules_alone_if_refused(self) -> Iterator[None]:
        """Before Linux 6.1 nftables' rules are all there is for packets."""
        try:
            yield
        except KernelRefusedError as err:
            logger.warning("packets are balanced by nftables alone: %s", err)
            self._forget_packets()
            remove_inlets()  # what an earlier one left would know nothing of what changes now

    @property
    def is_blind(self) -> bool:
        """The kernel tells of nftables' rules, but not of programs."""
        return True

    def disturbed(self, touches: Sequence[NftEvent]) -> str:
        """What somebody else did to rules or programs; then these are written anew. Links that
        came since the last call get their program.
        """
        known, self._known = self._known, False  # until it is told
        found = []
        if known and self._hooks and not self._hooks.are_attached():
            found.append("hooks of the cgroup were removed")
        if known and self._packets and not self._follow(self._packets):
            found.append("programs of links were removed")
        self._known = known and not found
        return "; ".join(filter(None, (self._rules.disturbed(touches), *found)))

    def _follow(self, packets: PacketPrograms) -> bool:
        with _translated():
            packets.follow()
        return packets.are_attached()

    def remove(self, *, keep_own: bool = False) -> None:
        """Detach and remove programs and maps. The rules are nftables' own, which removes them."""
        if not keep_own:
            with _translated():
                remove_inlets()
            remove_hooks()


@contextmanager
def _translated() -> Iterator[None]:
    """Of netlink, and of the file systems where cgroups and pins are."""
    try:
        yield
    except OSError as err:
        raise KernelRefusedError(f"ebpf: {err}") from err


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> EbpfBackend:
    """``cgroup-root`` says whose sockets the hooks serve, ``ebpf-algorithm`` how packets find their
    endpoint.
    """
    return EbpfBackend(settings, parse_options(options))
