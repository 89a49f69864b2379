"""A change of the table in nft's language: pure.

nft commits a text as one transaction. Within it, an object must exist before it is used, and must
not be used any more when it is removed. So the order is: sets and maps, chains, elements to remove,
elements to add, chains to remove, sets and maps to remove.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from proxy.backends.nftables.objects import TABLE, Chain, Draws, Element, SetOrMap, TableObject
from proxy.model.values import Family

_AT_ONCE = 500  # elements in one command


class Transaction(Struct, frozen=True):
    """Objects to add or to replace, and objects to remove. ``draws`` are elements to add."""

    put: tuple[TableObject, ...] = ()
    drop: tuple[TableObject, ...] = ()
    draws: tuple[Draws, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop or self.draws)

    @property
    def size(self) -> int:
        """How many objects it adds or replaces."""
        return len(self.put) + sum([len(one.targets) for one in self.draws])

    def in_steps(
        self, is_bulk: Callable[[Element], bool]
    ) -> tuple["Transaction", list[Element | Draws], "Transaction"]:
        """Divide what is put: sets, maps and chains, then elements, then chains with hooks."""
        first: list[TableObject] = []
        elements: list[Element | Draws] = [*self.draws]
        hooks: list[TableObject] = []
        for item in self.put:
            if isinstance(item, Element) and is_bulk(item):
                elements.append(item)
            else:
                (hooks if isinstance(item, Chain) and item.hook else first).append(item)
        return Transaction(put=tuple(first)), elements, Transaction(put=tuple(hooks))

    def lines(self, family: Family, name: str = TABLE) -> Iterator[str]:
        """Yield the commands, in an order that the kernel accepts."""
        table = table_name(family, name)
        chains = [item for item in self.put if isinstance(item, Chain)]
        gone = [item for item in self.drop if isinstance(item, Chain)]
        yield from (_make(item, table) for item in self.put if isinstance(item, SetOrMap))
        yield from (_declare(item, table) for item in chains)
        for chain in chains:
            yield f"flush chain {table} {chain.name}"
            rules = (*chain.had, *chain.rules)
            yield from (f"add rule {table} {chain.name} {rule}" for rule in rules)
        yield from _elements("delete", self.drop, table)
        drawn = (element for one in self.draws for element in one.elements)
        yield from _elements("add", (*self.put, *drawn), table)
        yield from (f"flush chain {table} {item.name}" for item in gone)
        yield from (f"delete chain {table} {item.name}" for item in gone)
        yield from (
            f"delete {item.kind} {table} {item.name}"
            for item in self.drop
            if isinstance(item, SetOrMap)
        )

    def text(self, family: Family, name: str = TABLE) -> str:
        """Return the whole input for nft."""
        return "".join(f"{line}\n" for line in self.lines(family, name))


def table_name(family: Family, name: str = TABLE) -> str:
    """Return the table's name in commands."""
    return f"{'ip' if family is Family.V4 else 'ip6'} {name}"


def _make(store: SetOrMap, table: str) -> str:
    return f"add {store.kind} {table} {store.name} {{ {store.spec} }}"


def _declare(chain: Chain, table: str) -> str:
    return f"add chain {table} {chain.name}" + (f" {{ {chain.hook} }}" if chain.hook else "")


def _elements(verb: str, objects: Iterable[TableObject], table: str) -> Iterator[str]:
    texts: dict[str, list[str]] = {}
    for item in objects:
        if isinstance(item, Element):
            texts.setdefault(item.store, []).append(item.text if verb == "add" else item.bare)
    for store, members in texts.items():
        yield from elements_of(verb, table, store, members)


def elements_of(verb: str, table: str, store: str, members: Sequence[str]) -> Iterator[str]:
    """Yield the commands that add or delete the elements of one set or map."""
    for start in range(0, len(members), _AT_ONCE):
        part = ", ".join(members[start : start + _AT_ONCE])
        yield f"{verb} element {table} {store} {{ {part} }}"
