"""Estimate the most that an expression can cost, from the greatest sizes of what it goes through.

The costs are those of upstream's estimator: checker/cost.go of github.com/google/cel-go, and
pkg/cel/library/cost.go of k8s.io/apiserver.
"""

from collections.abc import Callable, Mapping
from math import ceil

from control.api.cel.functions.table import Table
from control.api.cel.nodes import Call, Const, Entries, Ident, Items, Macro, Node, Select
from control.api.cel.types import Type

ENDLESS = 2**64 - 1
_TEXT, _REGEX = 0.1, 0.25
_LIST, _MAP, _OBJECT = 10, 30, 40
_SIZED = ("string", "bytes", "list", "map", "dyn")
_CHECK = 350_000
_NUMBER = 40  # characters of a number or a time, for which upstream has no bound
_FORMAT = 128  # characters that upstream takes for the pattern of any named format


def _many(size: int, factor: float = 1.0) -> int:
    return ENDLESS if size >= ENDLESS else min(ENDLESS, ceil(size * factor))


def _is_path(node: Node) -> bool:
    """Return True for what leads to a part of a variable."""
    if isinstance(node, Call):
        return node.name == "_[_]"
    return isinstance(node, Ident | Select)


class Estimator:
    """Estimates one expression; ``types`` are those of its parts, with their greatest sizes.

    ``whole`` is the greatest size of ``self``. As upstream, an item of a list that is computed is
    thought to be no larger: ``self.split('.')`` has such items.
    """

    def __init__(self, table: Table, types: Mapping[Node, Type], whole: int | None) -> None:
        self._table = table
        self._types = types
        self._whole = ENDLESS if whole is None else whole
        self._computed: frozenset[str] = frozenset()  # names of items of lists that are computed

    def cost(self, node: Node) -> int:
        """Return the greatest cost of an expression."""
        return min(ENDLESS, _COSTS[type(node)](self, node))

    def size(self, node: Node) -> int:
        """Return the greatest size of the value of an expression."""
        if isinstance(node, Const):
            return len(node.value) if isinstance(node.value, str | bytes) else 1
        if isinstance(node, Items):
            return len(node.items)
        if isinstance(node, Macro) and node.name in _SAME_SIZE:
            return self.size(node.target)
        if isinstance(node, Call) and (known := _SIZES.get(node.name)) is not None:
            operands = ([node.target] if node.target is not None else []) + list(node.args)
            return min(ENDLESS, known(self, operands))
        most = self._whole if isinstance(node, Ident) and node.name in self._computed else ENDLESS
        found = self._types.get(node)
        if found is None or (found.most is None and found.name in _SIZED):
            return most
        return 1 if found.most is None else min(most, found.most)

    def sort(self, node: Node) -> str:
        """Return the name of the type of an expression; empty for an unknown one."""
        found = self._types.get(node)
        return found.name if found else ""

    def _const(self, _: Const) -> int:
        return 0

    def _ident(self, _: Ident) -> int:
        return 1

    def _select(self, node: Select) -> int:
        return 0 if node.test else self.cost(node.operand) + 1

    def _items(self, node: Items) -> int:
        return _LIST + sum(map(self.cost, node.items))

    def _entries(self, node: Entries) -> int:
        parts = sum(self.cost(key) + self.cost(value) for key, value, _ in node.entries)
        return (_OBJECT if node.name else _MAP) + parts

    def _call(self, node: Call) -> int:
        operands = ([node.target] if node.target is not None else []) + list(node.args)
        if node.name == "_?_:_":
            condition, yes, no = node.args
            return self.cost(condition) + max(self.cost(yes), self.cost(no))
        below = sum(map(self.cost, operands))
        if node.name in ("_&&_", "_||_"):
            return below
        own = _CALLS.get(node.name)
        return below + (1 if own is None else own(self, operands))

    def _macro(self, node: Macro) -> int:
        target = self.cost(node.target)
        if node.name in ("optMap", "optFlatMap"):
            return target + 3 + self.cost(node.args[0])
        each, around = _STEPS[node.name]
        outer = self._computed
        self._computed = outer - {*node.names} if _is_path(node.target) else outer | {*node.names}
        inner = each + sum(map(self.cost, node.args))
        self._computed = outer
        return target + around + min(ENDLESS, self.size(node.target) * inner)


_COSTS: dict[type, Callable[..., int]] = {
    Const: Estimator._const,
    Ident: Estimator._ident,
    Select: Estimator._select,
    Items: Estimator._items,
    Entries: Estimator._entries,
    Call: Estimator._call,
    Macro: Estimator._macro,
}
# What each step of a comprehension costs besides its expressions, and what the whole of it does.
_STEPS = {
    "all": (3, 1),
    "exists": (4, 1),
    "exists_one": (2, 2),
    "existsOne": (2, 2),
    "filter": (13, 11),
    "map": (12, 11),
    "sortBy": (13, 12),
    "transformList": (12, 11),
    "transformMap": (3, 31),
    "transformMapEntry": (3, 31),
}
_SAME_SIZE = ("filter", "map", "sortBy", "transformList", "transformMap", "transformMapEntry")
Operands = list[Node]
Own = Callable[[Estimator, Operands], int]


def _through(factor: float = _TEXT, at: int = 0) -> Own:
    return lambda known, operands: _many(known.size(operands[at]), factor)


def _least(known: Estimator, operands: Operands) -> int:
    """Comparisons go through the shorter one."""
    return _many(min(known.size(each) for each in operands), _TEXT)


def _ordered(known: Estimator, operands: Operands) -> int:
    """Numbers are compared at once, texts sign by sign."""
    texts = any(known.sort(each) in ("string", "bytes") for each in operands)
    return _least(known, operands) if texts else 1


def _both(known: Estimator, operands: Operands) -> int:
    return min(ENDLESS, sum(known.size(each) for each in operands))


def _contains(known: Estimator, operands: Operands) -> int:
    text, part = (_many(known.size(each), _TEXT) for each in operands[:2])
    return min(ENDLESS, text * part)


def _matches(known: Estimator, operands: Operands) -> int:
    text, pattern = (known.size(each) for each in operands[:2])
    return min(ENDLESS, _many(text + 1, _TEXT) * _many(pattern, _REGEX))


def _validates(known: Estimator, operands: Operands) -> int:
    return min(ENDLESS, _many(_many(known.size(operands[1]), _TEXT), _FORMAT * _REGEX))


def _added(known: Estimator, operands: Operands) -> int:
    texts = any(known.sort(each) in ("string", "bytes") for each in operands)
    return _many(_both(known, operands), _TEXT) if texts else 1


def _written(known: Estimator, operands: Operands) -> int:
    """Return the characters of a text that was made of a value."""
    if known.sort(operands[0]) in _SIZED:
        return known.size(operands[0])
    return _NUMBER


def _replaced(known: Estimator, operands: Operands) -> int:
    text, _, new = (known.size(each) for each in operands[:3])
    return min(ENDLESS, (text + 1) * max(1, new) + text)


def _once(_: Estimator, __: Operands) -> int:
    return 1


def _check(_: Estimator, __: Operands) -> int:
    return _CHECK


_PARSED = (
    *("url", "ip", "cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver"),
    *("isSemver", "lowerAscii", "upperAscii", "substring", "trim", "string", "bytes"),
)
_WALKED = ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "distinct", "reverse", "sort")
# What a call costs besides its operands; any other one costs 1.
_CALLS: dict[str, Own] = {
    **dict.fromkeys(("_==_", "_!=_"), _least),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _ordered),
    **dict.fromkeys(_PARSED, _through()),
    **dict.fromkeys(_WALKED, _through(1.0)),
    **dict.fromkeys(("replace", "split", "format"), _through(2 * _TEXT)),
    **dict.fromkeys(("matches", "find", "findAll"), _matches),
    **dict.fromkeys(("startsWith", "endsWith"), _through(at=1)),
    "_+_": _added,
    "@in": _through(1.0, 1),
    "contains": _contains,
    "join": _through(1.0),
    "validate": _validates,
    "check": _check,
}
# The size of a call's result, if it follows from its operands.
_SIZES: dict[str, Own] = {
    "_+_": _both,
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim", "split"), _through(1.0)),
    "replace": _replaced,
    "size": _once,
    "string": _written,
}
