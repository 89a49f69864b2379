"""What an earlier run left in the table, and the way to clear it."""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.backends.nftables.objects import CLIENTS, TABLE
from proxy.backends.nftables.transaction import table_name
from proxy.linux import nft_names
from proxy.model.values import Family


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """Names of what the table holds; all empty when there is no table."""

    chains: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def observe(family: Family) -> ObservedTable:
    """Read the names in our table of this network namespace; raises KernelRefusedError."""
    stores = [one for one in nft_names.stores(family) if one.table == TABLE]
    return ObservedTable(
        tuple(name for table, name in nft_names.chains(family) if table == TABLE),
        tuple(one.name for one in stores if one.is_map),
        tuple(one.name for one in stores if not one.is_map),
    )


def clearing(observed: ObservedTable, family: Family) -> Iterator[str]:
    """The commands that empty the table, to be committed together with what fills it again.

    The set of clients that stick to an endpoint stays: a restart forgets nobody.
    """
    table = table_name(family)
    yield f"add table {table}"
    yield f"flush table {table}"
    yield from (f"delete map {table} {name}" for name in observed.maps)
    yield from (f"delete set {table} {name}" for name in observed.sets if name != CLIENTS)
    yield from (f"delete chain {table} {name}" for name in observed.chains)
