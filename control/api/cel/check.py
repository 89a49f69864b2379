"""Find the type of every part of an expression, and what is wrong with it. Pure.

Types are known as far as they are declared; ``dyn`` goes with everything. Source: the checker of
github.com/google/cel-go, whose messages these are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from control.api.cel.errors import Complaint
from control.api.cel.functions.table import Overload, Table
from control.api.cel.nodes import Call, Const, Entries, Ident, Items, Macro, Node, Select, qualified
from control.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    NULL,
    STRING,
    TYPE,
    UINT,
    Type,
    list_of,
    map_of,
    more_general,
    optional_of,
)
from control.api.cel.values import UInt

_CONSTANTS: dict[type, Type] = {
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    type(None): NULL,
}
_TYPES = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type")
_NAMED_TYPES = ("google.protobuf.Timestamp", "google.protobuf.Duration", "optional_type")
_NULLABLE = ("duration", "timestamp", "optional_type")
_MOST = 100
Variables = Mapping[str, Type]


class Checker:
    """Checks one expression; ``complaints`` are its errors."""

    def __init__(self, table: Table, variables: Variables) -> None:
        self._table = table
        self._variables = variables
        self.complaints: list[Complaint] = []
        self.types: dict[Node, Type] = {}
        self.names: dict[Node, str] = {}  # of typed fields, in JSON

    def check(self, root: Node) -> Type:
        """Return the type of an expression."""
        return self._type(root, self._variables)

    def _wrong(self, at: int, why: str) -> Type:
        if len(self.complaints) < _MOST:
            self.complaints.append(Complaint(at, why))
        return DYN

    def _type(self, node: Node, known: Variables) -> Type:
        found = self.types[node] = _CHECKS[type(node)](self, node, known)
        return found

    def _const(self, node: Const, _: Variables) -> Type:
        return _CONSTANTS[type(node.value)]

    def _ident(self, node: Ident, known: Variables) -> Type:
        if node.name in known:
            return known[node.name]
        if node.name in _TYPES:
            return TYPE
        return self._wrong(node.at, f"undeclared reference to '{node.name}' (in container '')")

    def _select(self, node: Select, known: Variables) -> Type:
        if not node.test and qualified(node, known) in _NAMED_TYPES:
            return TYPE
        of = self._type(node.operand, known)
        optional = node.optional or of.name == "optional_type"
        inner = of.params[0] if of.name == "optional_type" and of.params else of
        found = self._field(node, inner)
        if node.test:
            return BOOL
        return optional_of(found) if optional else found

    def _field(self, node: Select, of: Type) -> Type:
        if of.name == "map":
            # As upstream's estimates, which know the sizes of indexed values only.
            return replace(of.params[1], most=None) if of.params else DYN
        if of.fields is not None:
            if node.name not in of.fields:
                return self._wrong(node.at, f"undefined field '{node.name}'")
            self.names[node] = of.fields[node.name].name
            return of.fields[node.name].type
        if of is not DYN and of.name != "dyn" and not of.is_param:
            why = f"type '{of}' does not support field selection"
            return self._wrong(node.at, why)
        return DYN

    def _call(self, node: Call, known: Variables) -> Type:
        name = self._table.resolve(node, known)
        if name is not None:
            target, args = None, node.args
        else:
            name, target, args = node.name, node.target, node.args
        if name in ("_&&_", "_||_"):
            return self._logic(node, known)
        operands = ([] if target is None else [target]) + list(args)
        types = [self._type(each, known) for each in operands]
        overloads = self._table.overloads(name, member=target is not None)
        if not overloads and not self._table.overloads(name, member=target is None):
            return self._wrong(node.at, f"undeclared reference to '{name}' (in container '')")
        return self._resolved(node, name, overloads, types)

    def _logic(self, node: Call, known: Variables) -> Type:
        for each in node.args:
            found = self._type(each, known)
            if not _fits({}, found, BOOL):
                self._wrong(each.at, f"expected type 'bool' but found '{found}'")
        return BOOL

    def _resolved(
        self, node: Call, name: str, overloads: Iterable[Overload], types: list[Type]
    ) -> Type:
        results = []
        for each in overloads:
            bound: dict[str, Type] = {}
            wanted = each.signature.args
            if len(wanted) == len(types) and all(
                _fits(bound, have, want) for have, want in zip(types, wanted, strict=True)
            ):
                results.append(_bound(each.signature.result, bound))
        if not results:
            shown = list(map(str, types))
            given = f"({', '.join(shown)})"
            if node.target is not None and name == node.name:
                given = f"{shown[0]}.({', '.join(shown[1:])})"
            why = f"found no matching overload for '{name}' applied to '{given}'"
            return self._wrong(node.at, why)
        first = results[0]
        return first if all(each == first for each in results) else DYN

    def _items(self, node: Items, known: Variables) -> Type:
        found: Type | None = None
        for at, each in enumerate(node.items):
            have = self._type(each, known)
            if at in node.optional:
                have = self._unwrapped(each, have)
            found = _joined(found, have)
        return list_of(found) if found else Type("list")

    def _unwrapped(self, node: Node, have: Type) -> Type:
        if have.name == "optional_type":
            return have.params[0] if have.params else DYN
        if have.name != "dyn":
            self._wrong(node.at, f"expected type 'optional_type(dyn)' but found '{have}'")
        return DYN

    def _entries(self, node: Entries, known: Variables) -> Type:
        if node.name:
            return self._object(node, known)
        key: Type | None = None
        value: Type | None = None
        for name, item, optional in node.entries:
            key = _joined(key, self._type(name, known))
            have = self._type(item, known)
            value = _joined(value, self._unwrapped(item, have) if optional else have)
        return map_of(key, value) if key and value else Type("map")

    def _object(self, node: Entries, known: Variables) -> Type:
        found = self._table.objects(node.name)
        if found is None:
            why = f"undeclared reference to '{node.name}' (in container '')"
            return self._wrong(node.at, why)
        for name, item, optional in node.entries:
            have = self._type(item, known)
            text = name.value if isinstance(name, Const) else ""
            if found.fields is not None and text not in found.fields:
                self._wrong(name.at, f"undefined field '{text}'")
                continue
            have = self._unwrapped(item, have) if optional else have
            wanted = found.fields[text].type if found.fields else DYN
            if not _fits({}, have, wanted):
                why = f"expected type of field '{text}' is '{wanted}' but provided type is '{have}'"
                self._wrong(name.at, why)
        return found

    def _macro(self, node: Macro, known: Variables) -> Type:
        of = self._type(node.target, known)
        if node.name in ("optMap", "optFlatMap"):
            return self._optional_macro(node, of, known)
        key, value = self._range(node, of)
        two = len(node.names) == 2
        types = (key, value) if two else (value if of.name == "list" else key,)
        inside = dict(known) | dict(zip(node.names, types, strict=True))
        found = [self._type(each, inside) for each in node.args]
        for each, have in zip(node.args[: -1 if _makes(node) else None], found, strict=False):
            if node.name != "sortBy" and not _fits({}, have, BOOL):
                self._wrong(each.at, f"expected type 'bool' but found '{have}'")
        return _made(node, of, key, types[0], found[-1])

    def _range(self, node: Macro, of: Type) -> tuple[Type, Type]:
        """Return the types of the keys and values that a comprehension goes through."""
        if of.name == "list":
            return INT, of.params[0] if of.params else DYN
        if of.name == "map":
            return of.params if len(of.params) == 2 else (DYN, DYN)
        if of.name != "dyn":
            why = (
                f"expression of type '{of}' cannot be range of a comprehension (must be list, map,"
                " or dynamic)"
            )
            self._wrong(node.target.at, why)
        return DYN, DYN

    def _optional_macro(self, node: Macro, of: Type, known: Variables) -> Type:
        inner = self._unwrapped(node.target, of)
        found = self._type(node.args[0], dict(known) | {node.names[0]: inner})
        if node.name == "optMap":
            return optional_of(found)
        return found if found.name in ("dyn", "optional_type") else optional_of(DYN)


_CHECKS: dict[type, Callable[..., Type]] = {
    Const: Checker._const,
    Ident: Checker._ident,
    Select: Checker._select,
    Call: Checker._call,
    Items: Checker._items,
    Entries: Checker._entries,
    Macro: Checker._macro,
}


def _makes(node: Macro) -> bool:
    """Return True if the last argument of a macro is what it makes, and no condition."""
    return node.name == "map" or node.name.startswith("transform")


def _made(node: Macro, of: Type, key: Type, item: Type, last: Type) -> Type:
    match node.name:
        case "map" | "transformList":
            return list_of(last)
        case "filter":
            return list_of(item)
        case "sortBy":
            return of
        case "transformMap":
            return map_of(key, last)
        case "transformMapEntry":
            return last if last.name == "map" else map_of(DYN, DYN)
    return BOOL


def _fits(bound: dict[str, Type], have: Type, want: Type) -> bool:
    """Return True if a value of a type can be an operand of another, binding its parameters."""
    if want.is_param:
        known = bound.get(want.name)
        if known is None or _fits(bound, have, known):
            bound[want.name] = have if known is None else more_general(have, known)
            return True
        return _fits(bound, known, have)
    if have.name == "dyn" or want.name == "dyn" or have.is_param:
        return True
    if have.name == "null" and (want.name in _NULLABLE or want.fields is not None):
        return True
    if have.name != want.name:
        return False
    return all(map(lambda one, other: _fits(bound, one, other), have.params, want.params))


def _joined(one: Type | None, other: Type) -> Type:
    """Return the type of what may be either."""
    if one is None:
        return other
    if _fits({}, one, other):
        return more_general(one, other)
    return one if _fits({}, other, one) else DYN


def _bound(result: Type, bound: Mapping[str, Type]) -> Type:
    if result.is_param:
        return bound.get(result.name, DYN)
    if not result.params:
        return result
    return Type(result.name, tuple(_bound(each, bound) for each in result.params))


def fits(have: Type, want: Type) -> bool:
    """Return True if a result of a type is as wanted."""
    return _fits({}, have, want)
