"""What an earlier run left in the table, and the way to clear it: pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from proxy.model import Family
from proxy.nftables.objects import Object, Store
from proxy.nftables.render import STICKY
from proxy.nftables.transaction import table_name


@dataclass(frozen=True, slots=True)
class Observed:
    """Names of what the table holds."""

    chains: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def parse(listing: str) -> Observed:
    """Read ``nft --json --terse list table``."""
    found: dict[str, list[str]] = {"chain": [], "map": [], "set": []}
    for item in orjson.loads(listing)["nftables"]:
        for sort, names in found.items():
            if sort in item:
                names.append(item[sort]["name"])
    return Observed(tuple(found["chain"]), tuple(found["map"]), tuple(found["set"]))


def clearing(observed: Observed, wanted: tuple[Object, ...], family: Family) -> Iterator[str]:
    """The commands that empty the table, to be committed together with what fills it again.

    Sets of clients that stick to an endpoint stay if they are still wanted: a restart forgets
    nobody.
    """
    table = table_name(family)
    kept = {one.name for one in wanted if isinstance(one, Store) and one.name.startswith(STICKY)}
    yield f"add table {table}"
    yield f"flush table {table}"
    yield from (f"delete map {table} {name}" for name in observed.maps)
    yield from (f"delete set {table} {name}" for name in observed.sets if name not in kept)
    yield from (f"delete chain {table} {name}" for name in observed.chains)
