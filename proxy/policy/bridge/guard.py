"""Who decides on the frames between two Pods of this node: the rules, or a bridge's programs.

Programs decide where the proxy's mode has some. They ask the rules about all that their maps do not
admit. Otherwise the bridges show every frame to the rules. The order of writing makes each change
safe: entries that go, then the rules, then entries that come. So the programs never admit what the
rules would drop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from msgspec import Struct, field

from proxy.backends.ebpf.policy import AdmissionMaps, Guard, are_pinned
from proxy.linux.netlink import BRIDGE
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, NodeView
from proxy.policy import kernel
from proxy.policy.bridge.admissions import AdmissionChange, AdmissionTable
from proxy.policy.bridge.rules import BridgeRules
from proxy.policy.index import PolicyIndex
from proxy.policy.posts import Changes

logger = logging.getLogger("podwire.proxy.policy")

_TRY_AGAIN = 60.0  # seconds after which programs are tried again
_PATIENCE = 10.0  # seconds for the programs of a new process; until then an earlier one's serve


def release() -> None:
    """Have the programs let all frames pass, if there are any. Raises KernelRefusedError."""
    if are_pinned():
        AdmissionMaps().set_guard(Guard.UNGUARDED)


def _no_ports() -> Mapping[int, int] | None:
    return None


class Surroundings(Struct, frozen=True):
    """What the engine asks of the proxy: the node and the settings as they are now.

    ``ports`` are those of bridges with programs, as ``Backend.guarded_ports``. ``synced`` is set
    once the proxy's backend has written its first state.
    """

    node: Callable[[], NodeView]
    settings: Callable[[], ProxySettings]
    guarding: Callable[[], None]  # called when the filter of bridges, or their programs, may change
    ports: Callable[[], Mapping[int, int] | None] = _no_ports
    synced: asyncio.Event = field(default_factory=asyncio.Event)


class FrameGuard:
    """Follows the bridges, and writes the programs' part of each change."""

    def __init__(self, index: PolicyIndex, around: Surroundings) -> None:
        self._around = around
        self._table = AdmissionTable(index)
        self._rules = BridgeRules()
        self._maps: AdmissionMaps | None = None
        self.by_programs = False  # True while programs decide
        self.bridges: tuple[str, ...] = ()
        self._numbers: frozenset[int] = frozenset()  # the bridges' interface indexes
        self._foreign: frozenset[int] = frozenset()  # ports of other bridges
        self._guarded: Mapping[int, int] | None = None  # ports with programs, and their bridges
        self._looked: object = None  # the node and settings for which bridges were looked at
        self._refused_until = 0.0  # monotonic time
        self._can_filter: bool | None = None  # whether the kernel has rules for frames
        self._change = AdmissionChange()
        self._is_whole = False
        self._ended: set[Address] = set()  # whose flows the programs have to forget

    async def begin(self) -> None:
        """Let an earlier process' programs decide until those of this one are there."""
        if kernel.exists(BRIDGE):
            self.by_programs = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._around.synced.wait(), _PATIENCE)

    def heard(self) -> None:
        """Look at the bridges again: interfaces or addresses changed."""
        self._looked = None
        if self.by_programs:
            self._around.guarding()  # new ports get their program

    @property
    def ports(self) -> frozenset[int]:
        """The ports of Pods' bridges that had a program at the last look."""
        found = self._guarded or {}
        return frozenset(port for port, bridge in found.items() if bridge in self._numbers)

    def look(self) -> tuple[bool, str | None]:
        """Look at the bridges, and choose who decides. Call it before the addresses that new
        containers have got are looked at.

        A port that comes later waits for the next change: its Pod may have an address that was
        taken after that look, and is still judged as its last holder.

        Returns whether that is another than before, so that all has to be written anew, and what
        is wrong: empty if nothing is, None if that is known. Raises KernelRefusedError.
        """
        self._guarded = self._around.ports()  # the proxy's thread changes it at any time
        was, wrong = self.by_programs, None
        by_programs = self._can_decide()
        node, settings = self._around.node(), self._around.settings()
        looked = (node.pod_cidrs, settings.pods, by_programs)
        if looked != self._looked:
            self.by_programs = by_programs  # first of all, or the proxy might undo what comes here
            try:
                found, self._foreign = kernel.bridges_of(settings.pods, node.pod_cidrs)
                wrong = "" if by_programs else kernel.show_to_rules(found)
            except OSError as err:
                return was != by_programs, f"the bridges of Pods cannot be filtered: {err}"
            self.bridges = tuple(bridge.name for bridge in found)
            self._numbers = frozenset(bridge.number for bridge in found)
            self._looked = looked
        return was != by_programs, wrong

    def _can_decide(self) -> bool:
        """Return True if programs can decide."""
        if self._guarded is None or time.monotonic() < self._refused_until:
            return False
        if self._can_filter is None:
            self._can_filter = kernel.has_bridge_tables()
        return self._can_filter

    def plan(self, changes: Changes, ended: Iterable[Address] = (), *, whole: bool) -> str:
        """Prepare a change; return its part of the rules' transaction. ``whole``: all anew.

        The flows of the addresses ``ended`` were those of Pods that are gone.
        """
        self._is_whole = whole
        self._ended.update(ended)
        if not self.by_programs:
            if not are_pinned():  # no programs know flows
                self._ended.clear()
            self._change = AdmissionChange()
            return kernel.bridge_removal() if whole else ""
        if whole:
            self._change = AdmissionChange([], self._table.restart(changes))
            return self._rules.restart(self.ports, self._foreign)
        self._change = self._table.advance(changes)
        return self._rules.advance(self.ports, self._foreign)

    def before(self) -> None:
        """Remove entries: the rules will not admit them any more. Raises KernelRefusedError."""
        if not self.by_programs:
            return
        try:
            maps = self._maps = self._maps or AdmissionMaps()
            if self._is_whole:
                if maps.guard() is Guard.UNGUARDED and not any(map(kernel.exists, Family)):
                    maps.set_guard(Guard.LEARNING)  # connections that are open stay open
                maps.clear()
            maps.drop(self._change.gone)
            maps.end_flows(self._ended)
            self._ended.clear()
        except KernelRefusedError as err:
            self._refuse(err)
            raise

    def after(self) -> None:
        """Write entries: the rules admit them now. Raises KernelRefusedError."""
        if not self.by_programs:
            release()
            return
        try:
            maps = self._maps = self._maps or AdmissionMaps()
            maps.put(self._change.put)
            if self._is_whole:
                maps.set_guard(Guard.ENFORCING)
        except KernelRefusedError as err:
            self._refuse(err)
            raise

    def forget(self) -> None:
        """Prepare for the end of the last policy."""
        self.by_programs, self._looked = False, None

    def _refuse(self, err: KernelRefusedError) -> None:
        logger.warning(
            "the rules alone decide on frames between Pods, as in mode nftables: %s; trying the "
            "programs again with a change after %d s",
            err,
            _TRY_AGAIN,
        )
        self._refused_until = time.monotonic() + _TRY_AGAIN
        self._looked = None
