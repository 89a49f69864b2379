"""A second implementation of iptables-restore: it accepts and refuses the same input."""

import re

BUILTIN = {
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
_TARGETS = {"ACCEPT", "DROP", "RETURN", "REJECT", "MARK", "MASQUERADE", "DNAT"}
# Words, and comments of at most 255 bytes in quotes that nothing inside can end.
_RULE = re.compile(r'(?:[^"\\\n]|(?<=--comment )"[^"\\\n]{0,255}"(?= |$))+')


class RefusedError(Exception):
    """iptables would not commit this transaction."""


class FakeIptables:
    """The rules of one family: ``tables[table][chain]`` is a list of arguments."""

    def __init__(self) -> None:
        self.tables = {table: {chain: [] for chain in chains} for table, chains in BUILTIN.items()}

    def restore(self, transaction: bytes) -> None:
        """Do as ``iptables-restore --noflush``: each table is committed whole or not at all."""
        work = _Work("", {})
        for number, line in enumerate(transaction.decode().splitlines(), 1):
            try:
                if line.startswith("*"):
                    work = _Work(line[1:], self.tables[line[1:]])
                elif line == "COMMIT":
                    self.tables[work.table] = work.chains
                else:
                    work.do(line)
            except (KeyError, ValueError, RefusedError) as err:
                raise RefusedError(f"line {number}: {line!r}: {err!r}") from err

    def save(self) -> str:
        """Do as ``iptables-save``."""
        lines = []
        for table, chains in self.tables.items():
            lines.append(f"*{table}")
            for chain in chains:
                lines.append(f":{chain} {'ACCEPT' if chain in BUILTIN[table] else '-'} [0:0]")
            lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join(lines)


class _Work:
    """A table that is being changed."""

    def __init__(self, table: str, chains: dict[str, list[str]]) -> None:
        self.table = table
        self.chains = dict(chains)
        self._owned: set[str] = set()

    def do(self, line: str) -> None:
        if line.startswith(":"):
            self._declare(*line[1:].split(" "))
            return
        verb, _, rest = line.partition(" ")
        chain, _, rule = rest.partition(" ")
        if verb == "-X":
            self._remove(chain)
        elif verb == "-D":
            self._own(chain).remove(rule)
        else:
            self._check(rule)
            rules = self._own(chain)
            rules.insert({"-A": len(rules), "-I": 0}[verb], rule)

    def _declare(self, name: str, policy: str, _counters: str) -> None:
        if len(name) > 28 or policy != "-" or name in BUILTIN[self.table]:
            raise RefusedError("not a user's chain")
        self.chains[name] = []
        self._owned.add(name)

    def _own(self, chain: str) -> list[str]:
        """Return the chain's rules for a change: a copy of the committed ones."""
        if chain not in self._owned:
            self.chains[chain] = [*self.chains[chain]]
            self._owned.add(chain)
        return self.chains[chain]

    def _remove(self, chain: str) -> None:
        if self.chains.pop(chain):
            raise RefusedError("not empty")
        if any(rule.endswith(f"-j {chain}") for rules in self.chains.values() for rule in rules):
            raise RefusedError("still in use")

    def _check(self, rule: str) -> None:
        if not _RULE.fullmatch(rule):
            raise RefusedError("quotes do not match")
        target = re.search(r"-j (\S+)", re.sub(r'"[^"]*"', "", rule))
        if target and target[1] not in self.chains and target[1] not in _TARGETS:
            raise RefusedError(f"no chain {target[1]}")
