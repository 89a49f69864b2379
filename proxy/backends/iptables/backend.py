"""The iptables backend: keeps both families' rules at the desired state."""

import logging
from collections.abc import Mapping, Sequence

from proxy.backends.iptables import legacy
from proxy.backends.iptables.cleanup import removal
from proxy.backends.iptables.disturbance import disturbance
from proxy.backends.iptables.load import CHUNK, is_complete, load
from proxy.backends.iptables.observe import ObservedChains, parse
from proxy.backends.iptables.ruleset import IptablesRuleset
from proxy.backends.iptables.tool import Flavor, IptablesTool, detect, has_ours
from proxy.desired.desired import Desired
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView

logger = logging.getLogger("podwire.proxy.iptables")

_SMALL = 10_000_000  # bytes of legacy tables, some 1,000 Services, that 40 ms are enough to look at


class IptablesFamily:
    """One family's rules."""

    def __init__(self, tool: IptablesTool, settings: ProxySettings) -> None:
        self._tool = tool
        self._ruleset = IptablesRuleset(tool.family, settings)
        self._known = False  # whether the kernel holds what the ruleset says
        self._is_legacy = tool.flavor is Flavor.LEGACY
        self._size: tuple[int, ...] = ()
        self._digest: bytes | None = None  # of the rules, once nothing has changed for a while
        self._calm = False

    def apply(self, want: Desired, node: NodeView) -> None:
        """Commit what changed; after a failure, or at the start, everything."""
        change = self._ruleset.update(want, node)
        known, self._known = self._known and not self.is_resized(), False
        if not known:
            self._load()
        elif change:
            self._tool.restore(change.text())
        if self._is_legacy and (change or not known):
            self._remember()
        if self._is_legacy and not known:
            self._verify()
        self._known = True

    def _remember(self) -> None:
        """How legacy tables look after a write: big ones only once no other has followed, because
        to look at them costs as much as the change.
        """
        family = self._tool.family
        self._size, self._calm = legacy.size(family), False
        small = legacy.octets(self._size) <= _SMALL
        self._digest = legacy.digest(family) if small else None

    def forget(self) -> None:
        """Take the kernel's state for unknown."""
        self._known = False

    def is_resized(self) -> bool:
        """Whether legacy tables are not of the size that they had after the last write."""
        return self._is_legacy and self._known and legacy.size(self._tool.family) != self._size

    def is_other(self, *, touched: bool) -> bool:
        """Whether legacy tables hold other rules than after the last write, if they were touched.

        What big ones held is looked at when nothing was written since the call before.
        """
        if not self._known:
            return False
        calm, self._calm = self._calm, True
        if self._digest is None:
            self._digest = legacy.digest(self._tool.family) if calm else None
            return False
        return touched and legacy.digest(self._tool.family) != self._digest

    def _verify(self) -> None:
        """A flush between the write and the first look at the size would never be noticed."""
        if not is_complete(self._ruleset, parse(self._tool.save())):
            raise KernelRefusedError("somebody changed the rules while they were written")

    def _load(self) -> None:
        """Write everything, but for Services whose rules this kernel refuses: a module that one
        Service needs (SCTP, affinity) may be missing, and the others cannot help it.
        """
        observed = parse(self._tool.save())
        while True:
            try:
                self._write_all(observed)
            except KernelRefusedError as err:
                culprit = self._ruleset.owner(err.line)
                if culprit is None:
                    raise
                logger.error("Service %s is not served: %s", "/".join(culprit), err)
                self._ruleset.leave_out(culprit)
            else:
                return

    def _write_all(self, observed: ObservedChains) -> None:
        chunk = None if self._is_legacy else CHUNK
        for step in load(self._ruleset, observed, chunk):
            self._tool.restore(step.text())


class IptablesBackend:
    """Both families, with the tools of one flavor."""

    def __init__(self, settings: ProxySettings, flavor: Flavor | None) -> None:
        """``flavor`` None is whichever this node uses when the first state is applied."""
        self._settings = settings
        self._flavor = flavor
        self._families: list[IptablesFamily] = []
        self._lock = legacy.XtablesLock()

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring both families to ``want``; a failure of one does not stop the other."""
        failures = []
        for family in self._families or self._open():
            try:
                family.apply(want, node)
            except KernelRefusedError as err:
                failures.append(str(err))
        if failures:
            raise KernelRefusedError("; ".join(failures))

    @property
    def is_blind(self) -> bool:
        """Legacy tables send no events; nftables' do, and so iptables-nft's."""
        return self._flavor is Flavor.LEGACY

    def disturbed(self, touches: Sequence[NftEvent]) -> str:
        """What somebody else did to our rules; then both families are written anew."""
        what = self._seen() if self.is_blind else self._heard(touches)
        if what:
            for family in self._families:
                family.forget()
        return what

    def _heard(self, touches: Sequence[NftEvent]) -> str:
        """What the kernel's events tell of iptables-nft's tables."""
        return disturbance(touches) if self._families else ""

    def _seen(self) -> str:
        """What can be seen of legacy tables."""
        if any(family.is_resized() for family in self._families):
            return "the tables' size is another"
        touched = self._lock.was_taken()
        others = [family.is_other(touched=touched) for family in self._families]
        return "the tables' rules are others" if any(others) else ""

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove our rules from both families and both flavors; nothing of anybody else's."""
        for tool in (IptablesTool(family, flavor) for family in Family for flavor in Flavor):
            spared = keep_own and tool.flavor is self._flavor
            if not spared and has_ours(tool) and (transaction := removal(parse(tool.save()))):
                tool.restore(transaction)

    def _open(self) -> list[IptablesFamily]:
        self._flavor = self._flavor or detect()
        logger.info("using iptables-%s", self._flavor)
        tools = [IptablesTool(family, self._flavor) for family in self._settings.families]
        self._families = [IptablesFamily(tool, self._settings) for tool in tools]
        return self._families


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> IptablesBackend:
    """``options["flavor"]`` is legacy, nft, or auto: whichever this node already uses."""
    wanted = options.get("flavor", "auto")
    return IptablesBackend(settings, None if wanted == "auto" else Flavor(wanted))
