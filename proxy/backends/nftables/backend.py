"""The nftables backend: keeps both families' tables at the desired state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from proxy.backends.nftables.disturbance import disturbance
from proxy.backends.nftables.observe import ObservedTable, clearing, observe
from proxy.backends.nftables.ruleset import NftablesRuleset
from proxy.backends.nftables.transaction import table_name
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.linux.libnftables import Libnftables
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView


class NftablesFamily:
    """One family's table."""

    def __init__(
        self,
        library: Libnftables,
        observe: Callable[[Family], ObservedTable],
        family: Family,
        settings: ProxySettings,
        claims: ClaimResolver,
    ) -> None:
        self.family = family
        self._library = library
        self._observe = observe
        self._claims = claims
        self._ruleset = NftablesRuleset(family, settings)
        self._known = False  # whether the kernel holds what the ruleset says
        self._node = NodeView("")

    def prepare(self, steps: list[WinnerChange], node: NodeView) -> Callable[[], None]:
        """How to commit what changed; after a failure, or at the start, everything."""
        known, self._known = self._known and node.addresses == self._node.addresses, False
        self._node = node
        try:
            return partial(self._commit, self._change(steps) if known else self._everything())
        except KernelRefusedError as err:
            return partial(_refuse, err)

    def forget(self) -> None:
        """Take the kernel's state for unknown."""
        self._known = False

    def _change(self, steps: list[WinnerChange]) -> str:
        change = self._ruleset.advance(steps, self._node)
        return change.text(self.family) if change else ""

    def _everything(self) -> str:
        """Replace whatever is there in one transaction, so that nothing is ever missing."""
        winners = ((f, claim) for f, claim in self._claims.winners() if f.family is self.family)
        change = self._ruleset.restart(winners, self._node)
        cleared = clearing(self._observe(self.family), self.family)
        return "".join(f"{line}\n" for line in cleared) + change.text(self.family)

    def _commit(self, text: str) -> None:
        if text:
            self._library.commit(text)
        self._known = True


class NftablesBackend:
    """Both families."""

    def __init__(self, settings: ProxySettings, claims: ClaimResolver | None = None) -> None:
        """``claims`` are those of a backend that stands on this one, and keeps them up to date."""
        self._library = Libnftables()
        self._claims = claims or ClaimResolver(settings)
        self._families = [
            NftablesFamily(self._library, observe, one, settings, self._claims)
            for one in settings.families
        ]

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring both families to ``want``; a failure of one does not stop the other."""
        self.prepare(self._claims.update(want), node)()

    def prepare(self, steps: list[WinnerChange], node: NodeView) -> Callable[[], None]:
        """The same in two parts: who calls what this returns waits for libnftables alone, and
        leaves Python to other threads.
        """
        parts = [one.prepare(_of(one.family, steps), node) for one in self._families]
        return partial(_all, parts)

    @property
    def is_blind(self) -> bool:
        """nftables sends events."""
        return False

    def disturbed(self, touches: Sequence[NftEvent]) -> str:
        """What somebody else did to our tables; then both are written anew."""
        what = disturbance(touches)
        if what:
            for one in self._families:
                one.forget()
        return what

    def remove(self, *, keep_own: bool = False) -> None:
        """Remove our tables; nothing of anybody else's. Every run uses the same ones."""
        if keep_own:
            return
        for family in Family:
            if observe(family).chains:
                self._library.commit(f"delete table {table_name(family)}\n")


def _of(family: Family, steps: Iterable[WinnerChange]) -> list[WinnerChange]:
    return [step for step in steps if step.frontend.family is family]


def _refuse(err: KernelRefusedError) -> None:
    raise err


def _all(parts: Iterable[Callable[[], None]]) -> None:
    """Do every part, even if another one fails; raises KernelRefusedError."""
    failures = []
    for part in parts:
        try:
            part()
        except KernelRefusedError as err:
            failures.append(str(err))
    if failures:
        raise KernelRefusedError("; ".join(failures))


def open_backend(settings: ProxySettings, options: Mapping[str, str]) -> NftablesBackend:
    """There are no options."""
    del options
    return NftablesBackend(settings)
