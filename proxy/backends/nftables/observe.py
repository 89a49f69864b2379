"""The kernel's view of the table: its contents, and the events of other programs' changes."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from proxy.backends.nftables.objects import CLIENTS, TABLE
from proxy.backends.nftables.transaction import table_name
from proxy.linux import nft_names
from proxy.linux.nft_events import NftEvent, NftEventKind
from proxy.model.values import Family


class ObservedTable(Struct, frozen=True):
    """The names of the table's contents; all empty if there is no table."""

    chains: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def observe(family: Family) -> ObservedTable:
    """Return the names in our table of this network namespace. Raises KernelRefusedError."""
    stores = [store for store in nft_names.named_sets(family) if store.table == TABLE]
    return ObservedTable(
        tuple(name for table, name in nft_names.chains(family) if table == TABLE),
        tuple(store.name for store in stores if store.is_map),
        tuple(store.name for store in stores if not store.is_map),
    )


def clearing(observed: ObservedTable, family: Family) -> Iterator[str]:
    """Yield the commands that empty the table. Commit them together with those that fill it again.

    The set of clients with session affinity stays, so that a restart forgets no client.
    """
    table = table_name(family)
    yield f"add table {table}"
    yield f"flush table {table}"
    yield from (f"delete map {table} {name}" for name in observed.maps)
    yield from (f"delete set {table} {name}" for name in observed.sets if name != CLIENTS)
    yield from (f"delete chain {table} {name}" for name in observed.chains)


def disturbance(events: Iterable[NftEvent], table: str = TABLE) -> str:
    """Return a description of the first event about ``table``, which is ours; empty if there is
    none.

    Any event counts: no other program has reason to change our table.
    """
    for event in events:
        if event.kind is NftEventKind.LOST:
            return "events were lost"
        if event.table == table:
            action = "deleted" if event.deleted else "added"
            name = f" {event.name}" if event.kind is not NftEventKind.TABLE else ""
            return f"table {table}: {event.kind}{name} was {action}"
    return ""
