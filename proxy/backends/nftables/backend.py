"""The nftables backend: keeps both families' tables at the desired state."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial

from proxy.backends.base import RuleCount
from proxy.backends.nftables import bulk
from proxy.backends.nftables.objects import Draws, Element
from proxy.backends.nftables.observe import ObservedTable, clearing, disturbance, observe
from proxy.backends.nftables.ruleset import NftablesRuleset
from proxy.backends.nftables.transaction import table_name
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.linux.libnftables import NAME, REMEDY, Libnftables, can_load
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, NodeView

BIG = 1000  # objects of a table

SHOW_COMMAND = f"nft list table {table_name(Family.V4)}"


class NftablesFamily:
    """One family's table."""

    def __init__(
        self,
        library: Libnftables,
        observe: Callable[[Family], ObservedTable],
        family: Family,
        settings: ProxySettings,
        claims: ClaimResolver,
        writing: Callable[[Family, Sequence[Element | Draws]], Callable[[], None]] = bulk.prepare,
    ) -> None:
        """``writing`` returns a call that adds elements to the table."""
        self._writing = writing
        self.family = family
        self._library = library
        self._observe = observe
        self._claims = claims
        self._ruleset = NftablesRuleset(family, settings)
        self._known = False  # True while the kernel holds what the ruleset says
        self._node = NodeView("")

    def prepare(self, steps: list[WinnerChange], node: NodeView) -> Callable[[], None]:
        """Return a call that commits what changed; after a failure or at the start, everything."""
        known, self._known = self.is_known(node), False
        self._node = node
        try:
            return partial(self._commit, self._change(steps) if known else self._everything())
        except KernelRefusedError as err:
            return partial(_raise, err)

    def is_known(self, node: NodeView) -> bool:
        """Return True if a change is enough to bring the table to a state for this node."""
        return self._known and _is_alike(node, self._node)

    def forget(self) -> None:
        """Treat the kernel's state as unknown."""
        self._known = False

    def _change(self, steps: list[WinnerChange]) -> list[Callable[[], None]]:
        change = self._ruleset.advance(steps, self._node)
        return [partial(self._library.commit, change.text(self.family))] if change else []

    def _everything(self) -> list[Callable[[], None]]:
        """Replace the whole table in one transaction, so that no rule is ever missing.

        A big table that is not there yet is made in three: its hooks come last, so that it comes
        into force whole, and its elements go past libnftables, which takes longer than all else.
        """
        ours = (won for won in self._claims.winners() if won[0].family is self.family)
        change, observed = self._ruleset.restart(ours, self._node), self._observe(self.family)
        cleared = "".join(f"{line}\n" for line in clearing(observed, self.family))
        if observed != ObservedTable() or change.size < BIG:
            return [partial(self._library.commit, cleared + change.text(self.family))]
        first, elements, hooks = change.in_steps(bulk.can_take)
        return [
            partial(self._library.commit, cleared + first.text(self.family)),
            self._writing(self.family, elements),
            partial(self._library.commit, hooks.text(self.family)),
        ]

    def _commit(self, steps: list[Callable[[], None]]) -> None:
        for step in steps:
            step()
        self._known = True


class NftablesBackend:
    """Both families' tables."""

    def __init__(self, settings: ProxySettings, claims: ClaimResolver | None = None) -> None:
        """``claims`` belong to a backend that stands on this one and keeps them up to date."""
        self._library = Libnftables()
        self._claims = claims or ClaimResolver(settings)
        self._families = [
            NftablesFamily(self._library, observe, family, settings, self._claims)
            for family in settings.families
        ]

    def load_early(self) -> None:
        """See ``Backend``: there is nothing."""

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring both families to ``want``; a failure of one does not stop the other."""
        self.prepare(self._claims.update(want), node)()

    def prepare(self, steps: list[WinnerChange], node: NodeView) -> Callable[[], None]:
        """Return a call that commits the changes: ``apply`` in two parts.

        While the call waits for libnftables, other Python threads run.
        """
        commits = {
            family.family: family.prepare(_changes_of(family.family, steps), node)
            for family in self._families
        }
        return partial(_commit_all, commits)

    def rewrites(self, node: NodeView) -> frozenset[Family]:
        """See ``Backend``."""
        return frozenset(one.family for one in self._families if not one.is_known(node))

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
    def guarded_ports(self) -> Mapping[int, int] | None:
        """See ``Backend``: none."""
        return None

    @property
    def needs_bridge_filter(self) -> bool:
        """True: only rules translate answers back."""
        return True

    @property
    def is_blind(self) -> bool:
        """False: nftables sends events."""
        return False

    def disturbed(self, events: Sequence[NftEvent]) -> str:
        """Describe other programs' changes to our tables; after one, both are written again."""
        description = disturbance(events)
        if description:
            for family in self._families:
                family.forget()
        return description

    def exists(self) -> bool:
        """See ``Backend``."""
        return any(observe(family).chains for family in Family)

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove our tables, and no other program's. Every run uses the same tables."""
        if keep_own:
            return
        for family in Family:
            if observe(family).chains:
                self._library.commit(f"delete table {table_name(family)}\n")


def _changes_of(family: Family, steps: Iterable[WinnerChange]) -> list[WinnerChange]:
    return [step for step in steps if step.frontend.family is family]


def _is_alike(node: NodeView, before: NodeView) -> bool:
    """Return True if rules that depend on the node are the same."""
    return (node.addresses, node.service_ranges) == (before.addresses, before.service_ranges)


def _raise(err: KernelRefusedError) -> None:
    raise err


def _commit_all(commits: Mapping[Family, Callable[[], None]]) -> None:
    """Make every call, even if another one fails. Raises KernelRefusedError."""
    failures: dict[Family, str] = {}
    for family, commit in commits.items():
        try:
            commit()
        except KernelRefusedError as err:
            failures[family] = str(err)
    if failures:
        raise KernelRefusedError("; ".join(failures.values()), families=tuple(failures))


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> NftablesBackend:
    """There are no options."""
    del options
    return NftablesBackend(settings)


def missing() -> list[str]:
    """Return what this machine lacks: libnftables."""
    return [] if can_load() else [f"there is no {NAME}; {REMEDY}"]
