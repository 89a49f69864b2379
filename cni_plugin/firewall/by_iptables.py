"""The rules of attachments in iptables: one transaction for each IP version.

An ADD tries the transaction that a node with attachments takes, which fails when there is
anything in its way; only then it looks. A DEL asks the kernel whether there is any chain of ours
before it starts a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

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
        saved = tool.save()
        wanted, gone = past(saved.claims(tool.version), wanted, standing)
        tool.restore(rules.removing(saved, lambda owner: owner in gone or owner == wanted.owner))
        chains = rules.chains_of(wanted, tool.version)
        tool.restore(rules.mending(chains, tool.save()))
        tool.restore(rules.adding(chains))

    def claims(self) -> dict[str, str]:
        """Who claims which port."""
        return {
            claim: owner
            for tool in self._in_use()
            for claim, owner in tool.save().claims(tool.version).items()
        }

    def has(self, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        """Whether all of an attachment's rules are there, be it for another of the container's."""
        return all(
            self._has(self._tool(version), wanted, standing)
            for version in _VERSIONS
            if rules.chains_of(wanted, version)
        )

    def _has(self, tool: Tool, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        claims = tool.save().claims(tool.version)
        own = tuple(
            port
            for port in wanted.ports
            if standing(claims.get(port.claim, "")) is not Standing.KIN
        )
        try:
            tool.restore(rules.checking(rules.chains_of(replace(wanted, ports=own), tool.version)))
        except Failed:
            return False
        return True

    def remove(self, is_gone: Callable[[str], bool]) -> None:
        """Remove owners' rules, of both flavors; the fixed chains go with the last."""
        for tool in self._in_use():
            tool.restore(rules.removing(tool.save(), is_gone))

    def _tool(self, version: int) -> Tool:
        """The flavor that our rules are in; where there are none, that of the plain command."""
        flavors = flavors_with_ours()[version]
        return Tool(version, flavors[0] if flavors else "", self._lock)

    def _in_use(self) -> Iterator[Tool]:
        for version, flavors in flavors_with_ours().items():
            for flavor in flavors:
                yield Tool(version, flavor, self._lock)
