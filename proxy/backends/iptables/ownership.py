"""Tells our rules from all others: removes ours, and describes changes of ours; pure."""

from collections.abc import Iterable, Iterator

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.observe import ObservedChains
from proxy.linux.nft_events import NftEvent, NftEventKind

_TABLES = {table.value for table in Table}


def removal(observed: ObservedChains) -> bytes:
    """Return the transaction that removes our chains and the jumps to them; empty if there are
    none.

    KUBE-FIREWALL stays on kubelet's nodes, because kubelet wants the very same chain. A chain to
    which another program's chain jumps cannot be removed; it is emptied.
    """
    spared = {names.LOCALNET} if observed.has_kubelet else set()
    chains = sorted(observed.chains - spared)
    entries = [entry for entry in sorted(observed.entries) if not _jumps_to(entry[1], spared)]
    lines = [line for table in Table for line in _lines(table, chains, entries, observed.held)]
    return "".join(f"{line}\n" for line in lines).encode()


def _jumps_to(rule: str, chains: set[ChainName]) -> bool:
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


def disturbance(events: Iterable[NftEvent]) -> str:
    """Return a description of the first event about iptables-nft rules of ours; empty if none.

    In the kernel's own chains only the removal of a jump of ours matters.
    """
    for event in events:
        if event.kind is NftEventKind.LOST:
            return "events were lost"
        if event.table not in _TABLES:
            continue
        chain = ChainName(Table(event.table), event.name)
        if event.kind is NftEventKind.TABLE and event.deleted:
            return f"table {event.table} was deleted"
        if event.kind in (NftEventKind.CHAIN, NftEventKind.RULE) and _concerns_us(event, chain):
            action = "deleted" if event.deleted else "added"
            return f"a {event.kind} was {action}: table {event.table}, chain {event.name}"
    return ""


def _concerns_us(event: NftEvent, chain: ChainName) -> bool:
    """Kubelet writes the rules of KUBE-FIREWALL too, so changes there say nothing."""
    if names.is_ours(chain) and chain != names.LOCALNET:
        return event.deleted or event.kind is NftEventKind.RULE
    return event.kind is NftEventKind.RULE and event.deleted and b"KUBE-" in event.text
