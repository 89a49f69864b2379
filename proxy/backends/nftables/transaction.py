"""A change of the table as nft's own text: pure.

nft commits a text as one transaction. Within it things must exist before they are used, and must
not be used any more when they go: stores, chains, elements out, elements in, chains, stores.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.backends.nftables.objects import TABLE, Chain, Element, SetOrMap, TableObject
from proxy.model.values import Family

_AT_ONCE = 500  # elements in one command


@dataclass(frozen=True, slots=True)
class Transaction:
    """Objects to make, or to make anew, and objects to remove."""

    put: tuple[TableObject, ...] = ()
    drop: tuple[TableObject, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)

    def lines(self, family: Family, name: str = TABLE) -> Iterator[str]:
        """The commands, in an order that the kernel takes."""
        table = table_name(family, name)
        chains = [one for one in self.put if isinstance(one, Chain)]
        gone = [one for one in self.drop if isinstance(one, Chain)]
        yield from (_make(one, table) for one in self.put if isinstance(one, SetOrMap))
        yield from (_declare(one, table) for one in chains)
        for chain in chains:
            yield f"flush chain {table} {chain.name}"
            rules = (*chain.had, *chain.rules)
            yield from (f"add rule {table} {chain.name} {rule}" for rule in rules)
        yield from _elements("delete", self.drop, table)
        yield from _elements("add", self.put, table)
        yield from (f"flush chain {table} {one.name}" for one in gone)
        yield from (f"delete chain {table} {one.name}" for one in gone)
        yield from (
            f"delete {one.sort} {table} {one.name}"
            for one in self.drop
            if isinstance(one, SetOrMap)
        )

    def text(self, family: Family, name: str = TABLE) -> str:
        """The whole input for nft."""
        return "".join(f"{line}\n" for line in self.lines(family, name))


def table_name(family: Family, name: str = TABLE) -> str:
    """How commands name the table."""
    return f"{'ip' if family is Family.V4 else 'ip6'} {name}"


def _make(store: SetOrMap, table: str) -> str:
    return f"add {store.sort} {table} {store.name} {{ {store.spec} }}"


def _declare(chain: Chain, table: str) -> str:
    return f"add chain {table} {chain.name}" + (f" {{ {chain.hook} }}" if chain.hook else "")


def _elements(verb: str, objects: Iterable[TableObject], table: str) -> Iterator[str]:
    texts: dict[str, list[str]] = {}
    for one in objects:
        if isinstance(one, Element):
            texts.setdefault(one.store, []).append(one.text if verb == "add" else one.bare)
    for store, members in texts.items():
        for start in range(0, len(members), _AT_ONCE):
            part = ", ".join(members[start : start + _AT_ONCE])
            yield f"{verb} element {table} {store} {{ {part} }}"
