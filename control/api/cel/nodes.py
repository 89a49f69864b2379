"""The tree of an expression; ``at`` is the offset in the text that errors name."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A literal."""

    at: int
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Ident:
    """A variable; ``rooted`` with a dot before it, as no variable of a comprehension has."""

    at: int
    name: str
    rooted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """A field; ``optional`` for ``.?``, ``test`` for ``has()``."""

    at: int
    operand: "Node"
    name: str
    optional: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function, an operator such as ``_+_``, or a method of a target."""

    at: int
    name: str
    target: "Node | None"
    args: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A list; ``optional`` are the numbers of the items that may be left out."""

    at: int
    items: "tuple[Node, ...]"
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """A map, or with a name an object of a type."""

    at: int
    entries: "tuple[tuple[Node, Node, bool], ...]"  # key, value, may be left out
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """A comprehension: ``target.name(var, …, args)``."""

    at: int
    name: str
    target: "Node"
    names: tuple[str, ...]
    args: "tuple[Node, ...]"


Node = Const | Ident | Select | Call | Items | Entries | Macro


def below(node: Node) -> Iterator[Node]:
    """Yield the nodes right below one."""
    match node:
        case Select():
            yield node.operand
        case Call():
            if node.target is not None:
                yield node.target
            yield from node.args
        case Items():
            yield from node.items
        case Entries():
            for key, value, _ in node.entries:
                yield key
                yield value
        case Macro():
            yield node.target
            yield from node.args


def qualified(node: Node, known: Container[str]) -> str:
    """Return a name with dots whose first part is no variable; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.optional and not node.test:
        parts.append(node.name)
        node = node.operand
    if not isinstance(node, Ident) or node.name in known:
        return ""
    return ".".join([node.name, *reversed(parts)])
