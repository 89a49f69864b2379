"""The iptables backend: keeps both families' rules at the desired state."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

from msgspec.structs import replace

from proxy.backends.base import RuleCount
from proxy.backends.iptables import accounting, legacy
from proxy.backends.iptables.big import BigServices
from proxy.backends.iptables.fixed import jumps
from proxy.backends.iptables.load import CHUNK, finish, is_complete, load, standing
from proxy.backends.iptables.names import Table
from proxy.backends.iptables.observe import ObservedChains, parse
from proxy.backends.iptables.ownership import disturbance, removal
from proxy.backends.iptables.refused import COMMIT, end_of_trials, find_refused, trial
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.backends.iptables.tool import Flavor, IptablesTool, detect, has_ours, look
from proxy.desired.desired import Desired
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, NodeView

logger = logging.getLogger("podwire.proxy.iptables")

SHOW_COMMAND = "iptables-save -t nat"

_SMALL = 10_000_000  # bytes of legacy tables (1,000 Services) that are read within 40 ms


class IptablesFamily:
    """One family's rules."""

    def __init__(self, tool: IptablesTool, settings: ProxySettings) -> None:
        self._tool = tool
        self.family = tool.family
        self._settings = settings
        self._begin()
        self._last: Counter[Table] = Counter()
        self._known = False  # True while the kernel holds what the ruleset says
        self._is_legacy = tool.flavor is Flavor.LEGACY
        self._size: tuple[int, ...] = ()
        self._digest: bytes | None = None  # of legacy tables; None until they were read
        self._calm = False

    def _begin(self) -> None:
        self._ruleset = IptablesRuleset(self.family, self._settings)
        self._big = BigServices(self._ruleset)

    def apply(self, want: Desired, node: NodeView) -> None:
        """Commit what changed; after a failure, and at the start, everything.

        Raises KernelRefusedError.
        """
        known, self._known = self.is_known, False
        self._last.clear()
        if known:
            self._write_change(want, node)
        else:
            self._load(want, node)
        self._known = True

    def _restore(self, step: ChainChanges) -> None:
        self._tool.restore(step.text())
        for table in Table:
            self._last[table] += step.count(table)

    def counts(self) -> Iterator[RuleCount]:
        """Yield how many rules each table has, and how many of them were written last."""
        for table, total in self._ruleset.counts().items():
            yield RuleCount(self.family, table, total, self._last[table])

    @property
    def is_known(self) -> bool:
        """True if a change is enough to bring the rules to a state."""
        return self._known and not self.is_resized()

    def _write_change(self, want: Desired, node: NodeView) -> None:
        """Write a change, then a slice of what big Services still need."""
        if self._is_legacy:
            if change := self._ruleset.update(want, node):
                self._restore(change)
                self._remember()
            return
        shown = self._big.hold_back(want)
        done, again = self._big.done, self._big.again
        change = self._big.shorten(self._ruleset.update(shown, node, done, again))
        if change:
            self._restore(change)
        if part := self._big.next_slice():
            self._write_slice(part)

    def _write_slice(self, part: ChainChanges) -> None:
        try:
            self._restore(part)
        except KernelRefusedError:
            self._big.refused()
            raise

    def _load(self, want: Desired, node: NodeView) -> None:
        """Write everything, but big Services: those follow in slices."""
        observed = look(self._tool, self._ruleset.jumps)
        self._ruleset.complete()
        shown = want if self._is_legacy else self._big.hold_new(want, observed.chains)
        self._ruleset.update(shown, node)
        self._write_accepted(observed)
        if self._is_legacy:
            self._remember()
            self._verify()

    @property
    def held(self) -> Set[Key]:
        """The Services whose newest state is not in force yet."""
        return self._big.keys

    @property
    def is_unfinished(self) -> bool:
        """True while a big Service is not written to its end."""
        return bool(self._big)

    def _remember(self) -> None:
        """Remember the size of legacy tables after a write, and the digest of small tables.

        Big tables are read later, when no other write has followed: reading them costs as much as
        the change.
        """
        family = self._tool.family
        self._size, self._calm = legacy.size(family), False
        small = legacy.octets(self._size) <= _SMALL
        self._digest = legacy.digest(family) if small else None

    def forget(self) -> None:
        """Treat the kernel's state as unknown."""
        self._known = False

    def is_resized(self) -> bool:
        """Return True if legacy tables have another size than after the last write."""
        return self._is_legacy and self._known and legacy.size(self._tool.family) != self._size

    def has_other_rules(self, *, touched: bool) -> bool:
        """Return True if legacy tables hold other rules than after the last write.

        Rules are compared only if the tables were ``touched``. Big tables are read first when
        nothing was written since the call before.
        """
        if not self._known:
            return False
        was_calm, self._calm = self._calm, True
        if self._digest is None:
            self._digest = legacy.digest(self._tool.family) if was_calm else None
            return False
        return touched and legacy.digest(self._tool.family) != self._digest

    def _verify(self) -> None:
        """Check that every rule is there after a load.

        Another program may flush the tables between the write and the first reading of their size;
        that would never be noticed.
        """
        if not is_complete(self._ruleset, parse(self._tool.save())):
            raise KernelRefusedError(
                "iptables: another program changed the rules while they were written"
            )

    def _write_accepted(self, observed: ObservedChains) -> None:
        """Write everything, without the Services whose rules this kernel refuses.

        The kernel may lack a module that one Service needs (SCTP, affinity). That must not stop the
        others.
        """
        remade = False  # once: who cannot make them would try for ever
        while True:
            try:
                self._write_all(observed)
            except KernelRefusedError as err:
                if not remade and err.line and self._remake_counters():
                    remade = True
                    continue
                refused = self._refused(err)
                if not refused:
                    if err.line and self._settings.packet_counters:
                        self._count_nothing(err)
                    raise
                for key in refused:
                    logger.error("Service %s is not served: %s", "/".join(key), err)
                    self._ruleset.leave_out(key)
            else:
                return

    def _refused(self, err: KernelRefusedError) -> list[Key]:
        """Return the Services to leave out; none if the error is not about single Services."""
        owner = self._ruleset.owner(err.line)
        if owner is not None:
            return [owner]
        if err.line != COMMIT:
            return []
        found = find_refused(self._ruleset, self._accepts)
        self._tool.restore(end_of_trials().text())
        return found

    def _remake_counters(self) -> bool:
        """Make counters that somebody removed (``nfacct flush``); return True if there were any.

        The kernel refuses rules that count with them, and no Service is to blame.
        """
        try:
            missing = self._settings.packet_counters - accounting.read().keys()
            accounting.ensure(missing)
        except OSError:  # the kernel has none: the rules are tried without them
            return False
        return bool(missing)

    def _count_nothing(self, err: KernelRefusedError) -> None:
        """Have no rules that count, because they may be the ones that the kernel refuses."""
        logger.warning("packets are not counted by rules (match nfacct): %s", err)
        self._settings = replace(self._settings, packet_counters=frozenset())
        self._begin()

    def _accepts(self, keys: Sequence[Key]) -> bool:
        try:
            self._tool.restore(trial(self._ruleset, keys).text())
        except KernelRefusedError as err:
            if not err.line:  # no rule is to blame: the lock is taken, the tool is gone
                raise
            return False
        return True

    def _write_all(self, observed: ObservedChains) -> None:
        chunk = None if self._is_legacy else CHUNK
        whole = self._is_legacy or self._big.is_refused
        later = [] if whole else standing(self._ruleset, observed)
        stale = finish(self._ruleset, observed).drop if later else frozenset()
        for step in load(self._ruleset, observed, chunk, later):
            self._restore(step)
        self._big.refused(False)
        self._big.rewrite(later, observed.chains, stale)


class IptablesBackend:
    """Both families, with the commands of one flavor."""

    def __init__(self, settings: ProxySettings, flavor: Flavor | None) -> None:
        """``flavor`` None means the flavor that this node uses when the first state is applied."""
        self._settings = settings
        self._flavor = flavor
        self._families: list[IptablesFamily] = []
        self._lock = legacy.XtablesLock()

    def load_early(self) -> None:
        """See ``Backend``: there is nothing."""

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring both families to ``want``; a failure of one does not stop the other."""
        failures: dict[Family, str] = {}
        for family in self._families or self._open():
            try:
                family.apply(want, node)
            except KernelRefusedError as err:
                failures[family.family] = str(err)
        if failures:
            raise KernelRefusedError("; ".join(failures.values()), families=tuple(failures))

    def rewrites(self, node: NodeView) -> frozenset[Family]:  # noqa: ARG002
        """See ``Backend``. What depends on the node is a change as any other."""
        known = {family.family for family in self._families if family.is_known}
        return frozenset(self._settings.families) - known

    @property
    def is_unfinished(self) -> bool:
        """See ``Backend``."""
        return any(family.is_unfinished for family in self._families)

    @property
    def held(self) -> Set[Key]:
        """See ``Backend``."""
        return set().union(*(family.held for family in self._families))

    def rule_counts(self) -> Iterator[RuleCount]:
        """See ``Backend``."""
        for family in self._families:
            yield from family.counts()

    def packet_counts(self) -> Mapping[str, int]:
        """See ``Backend``."""
        return accounting.read() if self._settings.packet_counters else {}

    @property
    def guarded_ports(self) -> Mapping[int, int] | None:
        """See ``Backend``: none."""
        return None

    @property
    def needs_bridge_filter(self) -> bool:
        """True: only rules translate answers back."""
        return True

    @property
    def is_blind(self) -> bool:
        """True for legacy tables. nftables' tables, which iptables-nft writes, send events."""
        return self._flavor is Flavor.LEGACY

    def disturbed(self, events: Sequence[NftEvent]) -> str:
        """Describe other programs' changes; after one, both families are written again."""
        description = (
            self._disturbance_of_legacy() if self.is_blind else self._disturbance_of_nft(events)
        )
        if description:
            for family in self._families:
                family.forget()
        return description

    def _disturbance_of_nft(self, events: Sequence[NftEvent]) -> str:
        """Describe what the kernel's events say of iptables-nft's tables."""
        return disturbance(events) if self._families else ""

    def _disturbance_of_legacy(self) -> str:
        """Describe how legacy tables differ from the last write."""
        if any(family.is_resized() for family in self._families):
            return "the tables have another size"
        touched = self._lock.was_taken()
        others = [family.has_other_rules(touched=touched) for family in self._families]
        return "the tables have other rules" if any(others) else ""

    def exists(self) -> bool:
        """See ``Backend``: of either family and flavor."""
        return any(map(has_ours, _tools()))

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove our rules of both families and both flavors, and no other program's."""
        removed = False
        for tool in _tools():
            spared = keep_own and tool.flavor is self._flavor
            if not spared and has_ours(tool):
                observed = look(tool, jumps(tool.family, ProxySettings()))
                if transaction := removal(observed):
                    tool.restore(transaction)
                    removed = True
        if removed and not keep_own:
            _remove_counters()

    def _open(self) -> list[IptablesFamily]:
        self._flavor = self._flavor or detect()
        logger.info("using iptables-%s", self._flavor)
        self._settings = _with_counters(self._settings)
        tools = [IptablesTool(family, self._flavor) for family in self._settings.families]
        self._families = [IptablesFamily(tool, self._settings) for tool in tools]
        return self._families


def _with_counters(settings: ProxySettings) -> ProxySettings:
    """Make the counters that rules raise. Balancing works without them."""
    try:
        accounting.ensure(accounting.NAMES)
    except OSError as err:
        logger.info("the kernel has no packet counters (nfnetlink_acct): %s", err.strerror)
        return settings
    return replace(settings, packet_counters=accounting.NAMES)


def _remove_counters() -> None:
    try:
        accounting.remove()
    except OSError as err:
        raise KernelRefusedError(f"packet counters cannot be removed: {err.strerror}") from err


def _tools() -> Iterator[IptablesTool]:
    return (IptablesTool(family, flavor) for family in Family for flavor in Flavor)


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> IptablesBackend:
    """``options["flavor"]`` is legacy, nft, or auto: the flavor that this node already uses."""
    flavor = options.get("flavor", "auto")
    return IptablesBackend(settings, None if flavor == "auto" else Flavor(flavor))


def missing() -> list[str]:
    """Return what this machine lacks: the commands of either flavor."""
    if any(IptablesTool(Family.V4, flavor).exists for flavor in Flavor):
        return []
    return ["there are no iptables commands; install iptables"]
