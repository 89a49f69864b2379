"""What iptables-save says is there, as far as the proxy needs to know: pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table

_OURS = {*names.SHARED, *names.FIXED}


@dataclass(frozen=True, slots=True)
class ObservedChains:
    """Our chains in the kernel, and the rules of other chains that lead into them.

    ``entries`` are (chain, arguments): rules of the kernel's own chains. ``held`` are chains of
    ours that somebody else's chain leads to, which therefore cannot be removed.
    """

    chains: frozenset[ChainName]
    entries: frozenset[tuple[ChainName, str]]
    held: frozenset[ChainName]
    has_kubelet: bool
    rules: int  # in our chains, but for the one that kubelet writes too


def parse(text: str) -> ObservedChains:
    """Read the output of ``iptables-save``."""
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
    return _observed(chains, builtin, rules, has_kubelet=":KUBE-KUBELET-CANARY " in text)


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
    *,
    has_kubelet: bool,
) -> ObservedChains:
    ours = frozenset(chain for chain in chains if is_ours(chain))
    leads = [
        (origin, rule, target)
        for origin, rule in rules
        if (target := _target(origin, rule)) in ours
    ]
    return ObservedChains(
        chains=ours,
        entries=frozenset((origin, rule) for origin, rule, _ in leads if origin in builtin),
        held=frozenset(t for origin, _, t in leads if origin not in builtin and origin not in ours),
        has_kubelet=has_kubelet,
        rules=sum(origin in ours and origin != names.LOCALNET for origin, _ in rules),
    )


def is_ours(chain: ChainName) -> bool:
    """Whether a chain is the proxy's, or kube-proxy's before it."""
    return chain in _OURS or chain.name == names.CANARY or names.is_service_chain(chain)


def _target(origin: ChainName, rule: str) -> ChainName:
    """The chain that a rule of ours jumps to: nothing ever follows the name."""
    return ChainName(origin.table, rule.rpartition("-j ")[2])
