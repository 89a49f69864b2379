"""The firewall rules of attachments in iptables: one transaction for each IP version.

An ADD first tries the transaction that suits a node with attachments. That fails when something is
in its way; only then does the ADD list the rules. A DEL asks the kernel for chains of ours before
it starts a program.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from cni_plugin.firewall.claims import OwnerRelation, resolve_ports
from cni_plugin.firewall.iptables_rules import (
    SavedRules,
    WantedChains,
    add_transaction,
    check_transaction,
    lacks_hooks,
    removal_transaction,
    repair_transaction,
    wanted_chains,
    without_hooks,
)
from cni_plugin.firewall.iptables_tool import IptablesError, IptablesTool, flavors_in_use
from cni_plugin.plan.rules import WantedRules

_VERSIONS = (4, 6)


class IptablesBackend:
    """The tables of both IP versions. The caller holds ``lock``, a descriptor."""

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def add(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> None:
        """Add an attachment's rules, and remove rules of gone owners that are in their way."""
        for version in _VERSIONS:
            if wanted_chains(wanted, version):
                add_rules(self._tool(version), wanted, relation)

    def claims(self) -> dict[str, str]:
        """The owner of each claim."""
        return {
            claim: owner
            for tool in self._tools_in_use()
            for claim, owner in tool.save().claims(tool.version).items()
        }

    def has(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> bool:
        """Return true if all of an attachment's rules are there.

        They count also behind those of the container's other attachment: both are in one chain.
        """
        del relation
        return all(
            self._has_chains(self._tool(version), wanted)
            for version in _VERSIONS
            if wanted_chains(wanted, version)
        )

    def _has_chains(self, tool: IptablesTool, wanted: WantedRules) -> bool:
        chains = wanted_chains(wanted, tool.version)
        try:
            tool.restore(check_transaction(chains))
        except IptablesError:
            return not lacks_hooks(chains, tool.save()) and _holds(tool, chains)
        return True

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove the rules of gone owners, of both flavors; with the last rule the fixed chains.

        Returns the claims of the gone owners.
        """
        lost: set[str] = set()
        for tool in self._tools_in_use():
            saved = tool.save()
            remove_rules(tool, saved, is_gone)
            claims = saved.claims(tool.version)
            lost |= {claim for claim, holder in claims.items() if is_gone(holder)}
        return frozenset(lost)

    def _tool(self, version: int) -> IptablesTool:
        """The tool of the flavor that has our rules; without rules, of the plain command's."""
        flavors = flavors_in_use()[version]
        return IptablesTool(version, flavors[0] if flavors else "", self._lock)

    def _tools_in_use(self) -> Iterator[IptablesTool]:
        for version, flavors in flavors_in_use().items():
            for flavor in flavors:
                yield IptablesTool(version, flavor, self._lock)


def _holds(tool: IptablesTool, chains: WantedChains) -> bool:
    """Return true if our own chains have their rules."""
    try:
        tool.restore(check_transaction(chains, hooks=False))
    except IptablesError:
        return False
    return True


class Tables(Protocol):
    """The tables of one IP version."""

    @property
    def version(self) -> int:
        """The IP version."""

    def save(self) -> SavedRules:
        """Our chains and rules. Raises IptablesError."""

    def restore(self, transaction: str) -> None:
        """Commit a transaction. Raises IptablesError."""

    def unhook(self) -> None:
        """Delete our rules in the base chains. Raises OperationRefusedError."""


def remove_rules(tables: Tables, saved: SavedRules, is_gone: Callable[[str], bool]) -> bool:
    """Remove the rules of gone owners, if there are any; with the last one the fixed chains.

    A rule of another program may stand before ours in a base chain, and keep iptables from finding
    ours. Returns false if there is nothing to remove.
    """
    removal = removal_transaction(saved, is_gone)
    try:
        tables.restore(removal)
    except IptablesError:
        left = without_hooks(saved)
        if left == saved:
            raise
        tables.unhook()
        tables.restore(removal_transaction(left, is_gone))
    return bool(removal)


def add_rules(
    tables: Tables, wanted: WantedRules, relation: Callable[[str], OwnerRelation]
) -> None:
    """Add an attachment's rules to tables; list the tables only if the first attempt fails."""
    try:
        tables.restore(add_transaction(wanted_chains(wanted, tables.version)))
    except IptablesError:
        saved, left = _clear_way(tables, wanted, relation)
        chains = wanted_chains(left, tables.version)
        tables.restore(repair_transaction(chains, saved))
        tables.restore(add_transaction(chains, checks=False))


def _clear_way(
    tables: Tables, wanted: WantedRules, relation: Callable[[str], OwnerRelation]
) -> tuple[SavedRules, WantedRules]:
    """Remove the rules of gone owners. Returns the rules that are left, and those to add.

    A removal lets waiting owners inherit ports, so the tables are listed again after each.
    """
    while True:
        saved = tables.save()
        left, gone = resolve_ports(saved.claims(tables.version), wanted, relation)
        if not remove_rules(tables, saved, (gone | {wanted.owner}).__contains__):
            return saved, left
