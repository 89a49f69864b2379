"""The rules of attachments in iptables: one transaction for each IP version.

An ADD tries the transaction that a node with attachments takes, which fails when there is
anything in its way; only then it looks. A DEL asks the kernel whether there is any chain of ours
before it starts a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cni_plugin.firewall import iptables_rules as rules
from cni_plugin.firewall.claims import Standing, past
from cni_plugin.firewall.iptables import Failed, Tool, flavors_with_ours
from cni_plugin.firewall.wanted import Wanted

_VERSIONS = (4, 6)


class Iptables:
    """The tables of both IP versions; whoever uses it holds ``lock``, a descriptor."""

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        """Add an attachment's rules; what the gone left in their place goes."""
        for version in _VERSIONS:
            chains = rules.chains_of(wanted, version)
            if chains:
                tool = self._tool(version)
                try:
                    tool.restore(rules.adding(chains))
                except Failed:
                    self._claim_looking(tool, wanted, standing)

    def _claim_looking(
        self, tool: Tool, wanted: Wanted, standing: Callable[[str], Standing]
    ) -> None:
        """The same, having seen what is in the way."""
        while True:
            saved = tool.save()
            left, gone = past(saved.claims(tool.version), wanted, standing)
            in_the_way = (gone | {wanted.owner}) & saved.owners()
            if not in_the_way:
                break
            tool.restore(rules.removing(saved, in_the_way.__contains__))
        chains = rules.chains_of(left, tool.version)
        tool.restore(rules.mending(chains, saved))
        tool.restore(rules.adding(chains))

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
        except Failed:
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
