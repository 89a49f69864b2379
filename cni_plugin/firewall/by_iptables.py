"""The rules of attachments in iptables: one transaction for each IP version.

An ADD tries the transaction that a node with attachments takes, which fails when there is
anything in its way; only then it looks. A DEL asks the kernel whether there is any chain of ours
before it starts a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from cni_plugin.firewall import iptables_rules as rules
from cni_plugin.firewall.claims import Standing, past
from cni_plugin.firewall.iptables import IptablesError, Tool, flavors_with_ours
from cni_plugin.plan.rules import Wanted

_VERSIONS = (4, 6)


class Iptables:
    """The tables of both IP versions; whoever uses it holds ``lock``, a descriptor."""

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        """Add an attachment's rules; what the gone left in their place goes."""
        for version in _VERSIONS:
            if rules.chains_of(wanted, version):
                claim_in(self._tool(version), wanted, standing)

    def claims(self) -> dict[str, str]:
        """Who claims which port."""
        return {
            claim: owner
            for tool in self._in_use()
            for claim, owner in tool.save().claims(tool.version).items()
        }

    def has(self, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        """Whether all of an attachment's rules are there, behind another's of the container too."""
        del standing
        return all(
            self._has(self._tool(version), wanted)
            for version in _VERSIONS
            if rules.chains_of(wanted, version)
        )

    def _has(self, tool: Tool, wanted: Wanted) -> bool:
        try:
            tool.restore(rules.checking(rules.chains_of(wanted, tool.version)))
        except IptablesError:
            return False
        return True

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove owners' rules, of both flavors; the fixed chains go with the last.

        Returns the claims of new holders.
        """
        inherited: set[str] = set()
        for tool in self._in_use():
            saved = tool.save()
            tool.restore(rules.removing(saved, is_gone))
            inherited |= rules.inherited(saved, is_gone, tool.version)
        return frozenset(inherited)

    def _tool(self, version: int) -> Tool:
        """The flavor that our rules are in; where there are none, that of the plain command."""
        flavors = flavors_with_ours()[version]
        return Tool(version, flavors[0] if flavors else "", self._lock)

    def _in_use(self) -> Iterator[Tool]:
        for version, flavors in flavors_with_ours().items():
            for flavor in flavors:
                yield Tool(version, flavor, self._lock)


class Tables(Protocol):
    """The tables of one IP version."""

    @property
    def version(self) -> int:
        """The version."""

    def save(self) -> rules.Saved:
        """What there is of ours."""

    def restore(self, transaction: str) -> None:
        """Do a transaction; raises IptablesError."""


def claim_in(tables: Tables, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
    """Add an attachment's rules to tables; having looked at them, if need be."""
    try:
        tables.restore(rules.adding(rules.chains_of(wanted, tables.version)))
    except IptablesError:
        saved, left = _clear_way(tables, wanted, standing)
        chains = rules.chains_of(left, tables.version)
        tables.restore(rules.mending(chains, saved))
        tables.restore(rules.adding(chains))


def _clear_way(
    tables: Tables, wanted: Wanted, standing: Callable[[str], Standing]
) -> tuple[rules.Saved, Wanted]:
    """Remove what the gone left, of whom others inherit; returns what is there and to be added."""
    while True:
        saved = tables.save()
        left, gone = past(saved.claims(tables.version), wanted, standing)
        removal = rules.removing(saved, (gone | {wanted.owner}).__contains__)
        if not removal:
            return saved, left
        tables.restore(removal)
