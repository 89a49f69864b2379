"""What the constants of an expression show before it is ever computed. Pure.

Times, patterns and formats that nobody can read make an expression wrong, and so do conversions of
constants that have no result. Source: cel/validator.go, ext/formatting.go and
interpreter/decorators.go of github.com/google/cel-go.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from control.api.cel.errors import Complaint, EvaluationError
from control.api.cel.functions.clauses import ENDED, Clause, may_take, pieces, refusal
from control.api.cel.functions.table import Table, full_name
from control.api.cel.meter import Meter
from control.api.cel.nodes import Call, Const, Entries, Items, Node, below
from control.api.cel.types import DYN, Type
from control.api.custom.patterns import PatternError, compiled

_CONVERSIONS = frozenset(
    ("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint")
)
_TIMES = ("duration", "timestamp")
_PATTERNS = ("matches", "find", "findAll")
_MIXING = "format"  # its operands may be of any types
Types = Mapping[Node, Type]


def complaints(root: Node, types: Types, table: Table) -> list[Complaint]:
    """Return what is wrong with the literals of an expression whose types are right."""
    every = list(_under(root))
    found = list(_mixed(root, types))
    for name in (*_TIMES, "matches"):
        found += _unreadable(every, name, table)
    for node in every:
        found += _misformatted(node, types)
    return sorted(found, key=lambda each: each.at)


def _under(root: Node) -> Iterator[Node]:
    yield root
    for each in below(root):
        yield from _under(each)


def _mixed(node: Node, types: Types) -> Iterator[Complaint]:
    """Yield the items, keys and values of literals that have other types than the first."""
    match node:
        case Call(name=name) if name == _MIXING:
            return
        case Items():
            have = [
                _inside(types[each]) if at in node.optional else types[each]
                for at, each in enumerate(node.items)
            ]
            yield from list(_others(node.items, have))[:1]
        case Entries(name=""):
            keys = [key for key, _, _ in node.entries]
            values = [value for _, value, _ in node.entries]
            yield from _others(keys, [types[key] for key in keys])
            have = [_inside(types[it]) if opt else types[it] for _, it, opt in node.entries]
            yield from _others(values, have)
    for each in below(node):
        yield from _mixed(each, types)


def _inside(optional: Type) -> Type | None:
    """Return the type of an optional value; None for that of none, which may be any."""
    inner = optional.params[0] if optional.params else DYN
    return None if inner.name == "dyn" else inner


def _others(nodes: Sequence[Node], have: Sequence[Type | None]) -> Iterator[Complaint]:
    first: Type | None = None
    for node, type_ in zip(nodes, have, strict=True):
        if first is None:
            first = type_
        elif type_ is not None and not _alike(first, type_):
            yield Complaint(node.at, f"expected type '{first}' but found '{type_}'")


def _alike(one: Type, other: Type) -> bool:
    """Return True for the same type; what an empty list holds may be anything."""
    return one.name == other.name and all(
        "dyn" in (first.name, second.name) or _alike(first, second)
        for first, second in zip(one.params, other.params, strict=False)
    )


def _unreadable(every: list[Node], name: str, table: Table) -> Iterator[Complaint]:
    for node in every:
        if not isinstance(node, Call) or node.name != name or not node.args:
            continue
        given = node.args[0]
        if isinstance(given, Const) and not _reads(name, given.value, table):
            yield Complaint(given.at, f"invalid {name} argument")


def _reads(name: str, value: Any, table: Table) -> bool:
    try:
        if name in _TIMES:
            table.functions[name, False].call(Meter(), value)
        else:
            compiled(value)
    except (EvaluationError, PatternError):
        return False
    return True


def _misformatted(node: Node, types: Types) -> Iterator[Complaint]:
    """Yield the first thing that is wrong with a format and its list, if both are literals."""
    match node:
        case Call(name="format", target=Const(value=str() as text), args=(Items() as given,)):
            pass
        case _:
            return
    used = 0
    for piece in pieces(text):
        if not isinstance(piece, Clause):
            continue
        why, at = piece.why, node.at
        if used >= len(given.items) and why != ENDED:
            why = f"index {used} out of range"
        elif not why:
            wrong = _refused(piece.sort, given.items[used], types)
            if wrong is not None:
                at, why = wrong.at, refusal(piece.sort, full_name(types[wrong].name))
        if why:
            yield Complaint(at, why)
            return
        used += 1
    if len(given.items) > used:
        why = f"too many arguments supplied to string.format (expected {used}, got"
        yield Complaint(node.at, f"{why} {len(given.items)})")


def _refused(sort: str, node: Node, types: Types) -> Node | None:
    """Return the part of a value that a clause does not take; None if it takes all."""
    if not may_take(sort, types[node].name):
        return node
    if sort == "s" and isinstance(node, Items | Entries):
        parts = (_refused(sort, each, types) for each in below(node))
        return next((each for each in parts if each is not None), None)
    return None


def folded(root: Node, table: Table) -> dict[Node, Any]:
    """Return the values of the conversions of constants; raises EvaluationError.

    So it does for a constant pattern that cannot be read.
    """
    found: dict[Node, Any] = {}
    _fold(root, table, found)
    return found


def _fold(node: Node, table: Table, found: dict[Node, Any]) -> None:
    for each in below(node):
        _fold(each, table, found)
    if not isinstance(node, Call):
        return
    if node.name in _PATTERNS:
        _check_pattern(node)
    if node.name not in _CONVERSIONS or node.target is not None or len(node.args) != 1:
        return
    given = node.args[0]
    if isinstance(given, Const) or given in found:
        value = given.value if isinstance(given, Const) else found[given]
        found[node] = table.functions[node.name, False].call(Meter(), value)


def _check_pattern(node: Call) -> None:
    operands = node.args if node.target is None else (node.target, *node.args)
    if len(operands) < 2 or not isinstance(operands[1], Const):
        return
    try:
        compiled(operands[1].value)
    except PatternError as err:
        raise EvaluationError(err.go) from err
