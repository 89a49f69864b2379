"""The ebpf backend: programs balance at sockets and by packets, nftables' rules serve the rest."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

from msgspec.structs import replace

from proxy.backends.base import RuleCount
from proxy.backends.ebpf import packets, sockets
from proxy.backends.ebpf.contents import MapChanges, MapContents
from proxy.backends.ebpf.libbpf import BUILD_REMEDY, NAME, REMEDY, can_load
from proxy.backends.ebpf.mounts import PINS, known_file_systems, remove_pins
from proxy.backends.ebpf.options import EbpfOptions, parse_options
from proxy.backends.ebpf.packets import PacketPrograms, remove_packet_programs
from proxy.backends.ebpf.policy import close_bridges
from proxy.backends.ebpf.room import USUAL_ROOM, MapRoom, room_for
from proxy.backends.ebpf.sockets import SocketPrograms, remove_socket_programs
from proxy.backends.nftables import backend as nftables
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.linux.memory import give_back
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, NodeView

logger = logging.getLogger("podwire.proxy.ebpf")

_TRY_AGAIN = 60  # seconds
_PART = 500  # frontends

SHOW_COMMAND = nftables.SHOW_COMMAND  # the table has every Service, whatever the programs serve


class EbpfBackend:
    """Applies nftables' rules first, then the programs' maps.

    So the rules know every Service whose packets the programs leave to them.
    """

    def __init__(self, settings: ProxySettings, options: EbpfOptions) -> None:
        self._settings = settings
        self._options = options
        self._claims = ClaimResolver(settings)
        self._rules = nftables.NftablesBackend(settings, self._claims)
        self._contents = MapContents(self._options)
        self._sockets: SocketPrograms | None = None
        self._packets: PacketPrograms | None = None
        self._early: Future[SocketPrograms] | None = None  # loaded before there is a desired state
        self._known = False  # True while the maps hold what ``_contents`` says
        self._refusal = ""  # why there are no programs; empty if there are
        self._again = 0.0  # monotonic time before which they are not tried again
        self._node = NodeView("")
        self.guarded_ports: Mapping[int, int] | None = None  # see ``Backend``

    def load_early(self) -> None:
        """See ``Backend``: load the programs with maps that have room for most clusters.

        What an earlier run left stays, also if the kernel refuses something: it may take long until
        there is a desired state. The first ``apply`` then loads them again, and reports it.
        """
        helper = ThreadPoolExecutor(1)
        self._early = helper.submit(self._load_all)
        helper.shutdown(wait=False)

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring rules and maps to ``want``. Raises KernelRefusedError."""
        try:
            self._apply(want, node)
        finally:
            self._publish_ports()

    def _publish_ports(self) -> None:
        ports = self._packets.ports if self._packets and self._packets.come_first else None
        self.guarded_ports = ports

    def _apply(self, want: Desired, node: NodeView) -> None:
        known, self._known = self._is_known(node), False
        self._node = node
        if known and self._sockets:
            steps = self._claims.update(want)
            self._advance(self._sockets, steps, self._rules.prepare(steps, node))
        elif time.monotonic() < self._again:
            self._rules.prepare(self._claims.update(want), node)()
        else:
            self._load(want, node)

    def rewrites(self, node: NodeView) -> frozenset[Family]:
        """See ``Backend``. Both families share the maps."""
        if self._is_known(node) or time.monotonic() < self._again:
            return self._rules.rewrites(node)
        return frozenset(self._settings.families)

    def _is_known(self, node: NodeView) -> bool:
        return self._known and node.addresses == self._node.addresses

    def _advance(
        self, programs: SocketPrograms, steps: list[WinnerChange], commit_rules: Callable[[], None]
    ) -> None:
        with _translated():
            if self._packets:
                self._packets.follow()  # a new endpoint's link has its program before it is called
        try:
            commit_rules()
        finally:
            with _translated():
                programs.maps.write(self._contents.advance(steps))
            self._known = True

    def _load(self, want: Desired, node: NodeView) -> None:
        """Write everything again.

        One thread loads the programs and fills their maps, one commits the rules: both wait for the
        kernel most of the time. Here the maps' contents are made meanwhile. The programs come into
        force after the rules. If they cannot be loaded, the rules serve everything.
        """
        refusal: KernelRefusedError | None = None
        with ThreadPoolExecutor(1) as filling, ThreadPoolExecutor(1) as committing:
            loaded = filling.submit(self._programs_for, want)
            commit_rules = self._rules.prepare(self._claims.update(want), node)
            rules = committing.submit(commit_rules)
            try:
                with _translated():
                    frontends = self._fill(filling, loaded)
                    wait([rules])
                    self._attach(loaded.result(), frontends, node)
                self._known, self._refusal = True, ""
            except KernelRefusedError as err:
                refusal = err
        rules.result()
        if refusal is not None:
            self._serve_by_rules(str(refusal))

    def _serve_by_rules(self, why: str) -> None:
        """Balance by nftables alone, and say so once.

        Programs of an earlier run would not learn of changes, so they are removed.
        """
        if why != self._refusal:
            logger.error(
                "Services are balanced by nftables alone, as in mode nftables: %s; trying the "
                "programs again with a change after %d s",
                why,
                _TRY_AGAIN,
            )
        self._refusal, self._again = why, time.monotonic() + _TRY_AGAIN
        close_bridges()
        self._forget_packets()
        if self._sockets is not None:
            self._sockets.close()
        self._sockets = None
        self.remove()

    def _programs_for(self, want: Desired) -> SocketPrograms:
        """Return programs with empty maps that have room for ``want``."""
        portals = (portal for ports in want.values() for portal in ports)
        room = room_for(portals, self._options)
        early, self._early = self._early, None
        # What refused the early load refuses this one too, or has gone meanwhile.
        if early and not early.exception() and room.fits_in(USUAL_ROOM):
            return early.result()
        return self._load_programs(room)

    def _load_all(self) -> SocketPrograms:
        programs = self._load_sockets(USUAL_ROOM)
        self._load_packets(programs)
        return programs

    def _load_programs(self, room: MapRoom) -> SocketPrograms:
        """Load the programs with empty maps, without that for packets if the kernel refuses it."""
        programs = self._load_sockets(room)
        with self._rules_alone_if_refused():
            self._load_packets(programs)
        return programs

    def _load_sockets(self, room: MapRoom) -> SocketPrograms:
        programs = self._sockets = self._sockets or SocketPrograms(self._settings, self._options)
        programs.load(room)
        self._forget_packets()  # it uses maps of before
        return programs

    def _load_packets(self, programs: SocketPrograms) -> None:
        self._packets = PacketPrograms(self._settings, programs.library, programs.maps)
        self._packets.begin_early()

    def _fill(self, filling: Executor, loaded: Future[SocketPrograms]) -> MapChanges:
        """Write what frontends need, a part while the next one is made; return the frontends.

        Links may have their program already. Without a frontend it does nothing.
        """
        self._contents = MapContents(self._options)
        steps = (WinnerChange(at, None, claim) for at, claim in self._claims.winners())
        last, writes = MapChanges(), list[Future[None]]()
        while some := list(islice(steps, _PART)):
            part = self._contents.advance(some)
            last.frontends.update(part.frontends)
            writes.append(filling.submit(_write, loaded, replace(part, frontends={})))
        for write in writes:
            write.result()
        return last

    def _attach(self, programs: SocketPrograms, frontends: MapChanges, node: NodeView) -> None:
        """Bring the programs into force, after the rules."""
        addresses = (at for at in node.addresses if self._settings.is_node_port_address(at))
        programs.set_node(addresses)
        programs.maps.write(frontends)
        programs.attach()
        with self._rules_alone_if_refused():
            if self._packets is not None:
                self._packets.begin()
        give_back()

    def _forget_packets(self) -> None:
        if self._packets is not None:
            self._packets.close()
        self._packets = None

    @contextmanager
    def _rules_alone_if_refused(self) -> Iterator[None]:
        """Balance packets by nftables alone if the kernel refuses the program: before Linux 6.1."""
        try:
            yield
        except KernelRefusedError as err:
            logger.warning("packets are balanced by nftables alone: %s", err)
            self._forget_packets()
            close_bridges()
            remove_packet_programs()  # those of an earlier run would not learn of changes

    @property
    def is_unfinished(self) -> bool:
        """False: a change is written whole."""
        return False

    @property
    def held(self) -> Set[Key]:
        """See ``Backend``: none."""
        return frozenset()

    def rule_counts(self) -> Iterable[RuleCount]:
        """See ``Backend``: few rules, whatever the Services are."""
        return ()

    def packet_counts(self) -> Mapping[str, int]:
        """See ``Backend``: none."""
        return {}

    @property
    def needs_bridge_filter(self) -> bool:
        """False while the program for packets surely routes what the rules have to see."""
        return self._packets is None or not self._packets.come_first

    @property
    def is_blind(self) -> bool:
        """True: the kernel sends events about nftables' rules, but not about programs."""
        return True

    def disturbed(self, events: Sequence[NftEvent]) -> str:
        """Describe other programs' changes to rules and programs; those are then written again.

        Links that came since the last call get their program.
        """
        known, self._known = self._known, False
        found = []
        if known and self._sockets and not self._sockets.are_attached():
            found.append("programs of the cgroup were removed")
        if known and self._packets and not self._follow(self._packets):
            found.append("programs of links were removed")
        self._known = known and not found
        return "; ".join(filter(None, (self._rules.disturbed(events), *found)))

    def _follow(self, programs: PacketPrograms) -> bool:
        with _translated():
            programs.follow()
        self._publish_ports()
        return programs.are_attached()

    def exists(self) -> bool:
        """See ``Backend``."""
        return PINS.exists()

    def remove(self, *, keep_own: bool = False) -> None:
        """Detach and remove programs and maps. nftables' backend removes the rules."""
        if not keep_own:
            try:
                with _translated():
                    remove_socket_programs()
                    remove_packet_programs()
            except KernelRefusedError as err:  # libbpf is gone; unpinning detaches all but filters
                logger.warning("filters of links, if there are any, are not removed: %s", err)
            remove_pins()


def _write(loaded: Future[SocketPrograms], part: MapChanges) -> None:
    loaded.result().maps.write(part)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of netlink, cgroups and the BPF file system into KernelRefusedError."""
    try:
        yield
    except OSError as err:
        raise KernelRefusedError(f"ebpf: {err}") from err


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> EbpfBackend:
    """``cgroup-root`` names the cgroup that is served, ``ebpf-algorithm`` how packets find their
    endpoint.
    """
    return EbpfBackend(settings, parse_options(options))


def missing() -> list[str]:
    """Return what this machine lacks: object files, libraries, kernel features."""
    programs = (sockets.OBJECT, packets.OBJECT)
    lacking = [f"{path} is not built; {BUILD_REMEDY}" for path in programs if not path.exists()]
    if not can_load():
        lacking.append(f"there is no {NAME}; {REMEDY}")
    known = known_file_systems()
    if not {"bpf", "cgroup2"} <= known:
        lacking.append("the kernel has no BPF or no cgroup2; use one with CONFIG_CGROUP_BPF")
    return [*lacking, *nftables.missing()]
