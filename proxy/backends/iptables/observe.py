"""iptables-save's output, parsed as far as the proxy needs it: pure."""

from collections.abc import Iterator

from msgspec import Struct

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table


class ObservedChains(Struct, frozen=True):
    """Our chains in the kernel, and the rules of other chains that jump to them.

    ``entries`` are (chain, arguments) of rules in the kernel's own chains. ``held`` are chains of
    ours to which another program's chain jumps; those cannot be removed. Nobody knows what jumps to
    chains in ``hidden`` tables, so all of those are held.
    """

    chains: frozenset[ChainName]
    entries: frozenset[tuple[ChainName, str]]
    held: frozenset[ChainName]
    has_kubelet: bool
    hidden: frozenset[Table]  # tables that iptables-save could not print to their end
    rules: int  # how many are in our chains, without the chain that kubelet writes too


def parse(text: str) -> ObservedChains:
    """Parse the output of ``iptables-save``."""
    chains: set[ChainName] = set()
    builtin: set[ChainName] = set()
    rules: list[tuple[ChainName, str]] = []
    for table in Table:
        for line in _lines_of(table, text):
            if line.startswith(":"):
                name, policy = line[1:].split()[:2]
                (chains if policy == "-" else builtin).add(ChainName(table, name))
            elif line.startswith("-A "):
                _, name, rule = line.split(" ", 2)
                rules.append((ChainName(table, name), rule))
    hidden = frozenset(table for table in Table if _is_cut(table, text))
    return _observed(chains, builtin, rules, hidden, has_kubelet=":KUBE-KUBELET-CANARY " in text)


def _is_cut(table: Table, text: str) -> bool:
    lines = list(_lines_of(table, text))
    return bool(lines) and "COMMIT" not in lines


def _lines_of(table: Table, text: str) -> Iterator[str]:
    current = ""
    for line in text.splitlines():
        if line.startswith("*"):
            current = line[1:]
        elif current == table:
            yield line


def _observed(
    chains: set[ChainName],
    builtin: set[ChainName],
    rules: list[tuple[ChainName, str]],
    hidden: frozenset[Table],
    *,
    has_kubelet: bool,
) -> ObservedChains:
    ours = frozenset(chain for chain in chains if names.is_ours(chain))
    jumps = [
        (origin, rule, target)
        for origin, rule in rules
        if (target := _target(origin, rule)) in ours
    ]
    return ObservedChains(
        chains=ours,
        entries=frozenset((origin, rule) for origin, rule, _ in jumps if origin in builtin),
        held=frozenset(
            target for origin, _, target in jumps if origin not in builtin and origin not in ours
        )
        | {chain for chain in ours if chain.table in hidden},
        hidden=hidden,
        has_kubelet=has_kubelet,
        rules=sum(origin in ours and origin != names.LOCALNET for origin, _ in rules),
    )


def _target(origin: ChainName, rule: str) -> ChainName:
    """Return the chain to which a rule of ours jumps: its name is the end of the rule."""
    return ChainName(origin.table, rule.rpartition("-j ")[2])
