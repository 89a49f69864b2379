"""Removing every trace of the proxy, and nothing else: pure."""

from collections.abc import Iterator

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.observe import ObservedChains


def removal(observed: ObservedChains) -> bytes:
    """The transaction that removes our chains and the rules that lead into them; empty if none.

    KUBE-FIREWALL stays where kubelet is at home, because it wants the very same chain. A chain
    that somebody else's chain leads to is emptied, since it cannot be removed.
    """
    spared = {names.LOCALNET} if observed.has_kubelet else set()
    chains = sorted(observed.chains - spared)
    entries = [entry for entry in sorted(observed.entries) if not _leads_to(entry[1], spared)]
    lines = [line for table in Table for line in _lines(table, chains, entries, observed.held)]
    return "".join(f"{line}\n" for line in lines).encode()


def _leads_to(rule: str, chains: set[ChainName]) -> bool:
    return any(rule.endswith(f"-j {chain.name}") for chain in chains)


def _lines(
    table: Table,
    chains: list[ChainName],
    entries: list[tuple[ChainName, str]],
    held: frozenset[ChainName],
) -> Iterator[str]:
    ours = [chain for chain in chains if chain.table == table]
    if not ours:
        return
    yield f"*{table}"
    yield from (f":{chain.name} - [0:0]" for chain in ours)
    yield from (f"-D {origin.name} {rule}" for origin, rule in entries if origin.table == table)
    yield from (f"-X {chain.name}" for chain in ours if chain not in held)
    yield "COMMIT"
