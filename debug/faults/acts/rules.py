"""Changes of a namespace's rules: a table of our own, a policy, a rule of legacy iptables."""

import re
from typing import Any

from debug.faults.acts.base import FaultError, SpotAct, run

PREFIX = "podwire-fault-"
_NO_TABLE = ("No such file or directory",)
_POLICY = re.compile(r"hook forward .*policy (\w+);")


class Rules(SpotAct, frozen=True, kw_only=True):
    """A table of nftables with one name of ours; ``chains`` are its content."""

    family: str
    name: str
    chains: tuple[str, ...]

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"table {self.table}"

    @property
    def table(self) -> str:
        """Its family and name."""
        return f"{self.family} {PREFIX}{self.name}"

    def enact(self) -> None:
        """See ``SpotAct``."""
        made = "\n".join(self.chains)
        run(["nft", "-f", "-"], f"{self._removal()}table {self.table} {{\n{made}\n}}\n")

    def revert(self) -> None:
        """See ``SpotAct``."""
        run(["nft", "-f", "-"], self._removal())

    def _removal(self) -> str:
        return f"add table {self.table}\ndelete table {self.table}\n"


class ForwardPolicy(SpotAct, frozen=True, kw_only=True):
    """The policy of chain FORWARD, as ``iptables -P FORWARD DROP`` sets it; ``before`` "": none."""

    value: str = "drop"
    before: str = ""

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return "policy of FORWARD"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        return {"before": _forward_policy()}

    def enact(self) -> None:
        """See ``SpotAct``."""
        self._set(self.value)

    def revert(self) -> None:
        """See ``SpotAct``. A table that was made for the policy goes, unless it is used by now."""
        if _forward_policy() == self.value:
            self._set(self.before or "accept")
        if not self.before and "counter" not in (found := _filter_table()) and found:
            run(["nft", "delete", "table", "ip", "filter"], absent=_NO_TABLE)

    def _set(self, policy: str) -> None:
        hook = f"type filter hook forward priority filter; policy {policy};"
        run(["nft", "-f", "-"], f"add table ip filter\nadd chain ip filter FORWARD {{ {hook} }}\n")


def _filter_table() -> str:
    return run(["nft", "list", "table", "ip", "filter"], absent=_NO_TABLE)


def _forward_policy() -> str:
    found = _POLICY.search(_filter_table())
    return found[1] if found else ""


class LegacyRule(SpotAct, frozen=True, kw_only=True):
    """A rule of iptables' legacy back end, which ``iptables -L`` of the other does not show."""

    chain: str
    rule: tuple[str, ...]

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"legacy {self.chain} {' '.join(self.rule)}"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        if self._is_there():
            raise FaultError(f"{self.spot} has the rule already: {' '.join(self.rule)}")
        return {}

    def enact(self) -> None:
        """See ``SpotAct``."""
        if not self._is_there():
            run(["iptables-legacy", "-w", "5", "-I", self.chain, *self.rule])

    def revert(self) -> None:
        """See ``SpotAct``."""
        if self._is_there():
            run(["iptables-legacy", "-w", "5", "-D", self.chain, *self.rule])

    def _is_there(self) -> bool:
        wanted = f"-A {self.chain} {' '.join(self.rule)}"
        return wanted in run(["iptables-legacy", "-w", "5", "-S", self.chain]).splitlines()


class Wiped(SpotAct, frozen=True, kw_only=True):
    """The proxy's rules, removed as ``iptables -t nat -F`` or a firewall's reload does.

    Nothing is kept of them: their owner, who runs again after the fault, writes them anew.
    """

    mode: str

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return "rules of the proxy"

    def enact(self) -> None:
        """See ``SpotAct``."""
        if self.mode == "iptables":
            run(["iptables", "-w", "5", "-t", "nat", "-F"])
        else:
            run(["nft", "delete", "table", "ip", "podwire-proxy"], absent=_NO_TABLE)

    def revert(self) -> None:
        """See ``SpotAct``."""
