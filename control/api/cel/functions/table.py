"""Functions by name: what they take, what they cost, what they do."""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from control.api.cel.errors import NO_OVERLOAD, EvaluationError
from control.api.cel.meter import Meter
from control.api.cel.nodes import Call, qualified
from control.api.cel.types import Signature, Type, signature
from control.api.cel.values import (
    Duration,
    MapList,
    Optional,
    SetList,
    Timestamp,
    TypeName,
    UInt,
)

_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    SetList: "list",
    MapList: "list",
    dict: "map",
    Timestamp: "timestamp",
    Duration: "duration",
    Optional: "optional_type",
    TypeName: "type",
}


def name_of(sort: type) -> str:
    """Return the name of the type of values of a class: of others, it is their ``CEL``."""
    return _NAMES.get(sort) or str(getattr(sort, "CEL", ""))


_FULL = {
    "null": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


def full_name(name: str) -> str:
    """Return the name of a type as values and messages have it."""
    return _FULL.get(name, name)


Cost = Callable[..., int]
_BRACKETS = re.compile(r"\[.*?\]")


@dataclass(frozen=True, slots=True)
class Overload:
    """A function for operands of certain types; ``cost`` are the units of a call, before it.

    ``steps`` is how long it takes, in units, if that is another number. A ``metered`` function
    takes a meter first, and spends what shows only on the way.
    """

    name: str
    text: str
    function: Callable[..., Any]
    cost: Cost | None = None
    steps: int | None = None
    metered: bool = False

    @property
    def signature(self) -> Signature:
        """The types of operands and result."""
        return signature(self.text)

    def takes(self, names: Sequence[str]) -> bool:
        """Return True if it takes operands whose values have types of these names."""
        wanted = self.signature.args
        return len(wanted) == len(names) and all(map(_is_one, wanted, names))


def either(
    name: str,
    text: str,
    function: Callable[..., Any],
    cost: Cost | None = None,
    *,
    metered: bool = False,
) -> tuple[Overload, Overload]:
    """Return a function with, and without, the operands in brackets: ``string.(string[, int])``."""
    without, every = _BRACKETS.sub("", text), text.replace("[", "").replace("]", "")
    short = Overload(name, without, function, cost, metered=metered)
    return short, Overload(name, every, function, cost, metered=metered)


def reads(read: Callable[..., Any]) -> Callable[..., bool]:
    """Return a function that says whether a text can be read."""

    def check(*given: Any) -> bool:
        try:
            read(*given)
        except EvaluationError:
            return False
        return True

    return check


def _is_one(wanted: Type, name: str) -> bool:
    return wanted.is_param or wanted.name in ("dyn", name)


class Function:
    """All overloads of a function, of which the operands of a call choose one."""

    def __init__(self, name: str, overloads: tuple[Overload, ...]) -> None:
        self.name = name
        self.overloads = overloads
        self._chosen: dict[tuple[type, ...], Overload | None] = {}

    def call(self, meter: Meter, *operands: Any) -> Any:
        """Return the result; raises EvaluationError."""
        sorts = tuple(each.__class__ for each in operands)
        if sorts not in self._chosen:
            names = [name_of(sort) for sort in sorts]
            fit = (each for each in self.overloads if each.takes(names))
            self._chosen[sorts] = next(fit, None)
        chosen = self._chosen[sorts]
        if chosen is None:
            raise EvaluationError(_refusal(self.name, [name_of(sort) for sort in sorts]))
        meter.spend(1 if chosen.cost is None else chosen.cost(*operands) or 1, chosen.steps)
        return chosen.function(meter, *operands) if chosen.metered else chosen.function(*operands)


def _refusal(name: str, given: list[str]) -> str:
    """Return what is said of operands that no overload takes."""
    if name in _ORDERS:
        return f"{NO_OVERLOAD}: {name}" if given[0] in _UNORDERED else NO_OVERLOAD
    if name == "_[_]":
        return f"unsupported index type '{full_name(given[1])}' in list"
    if name in _BARE or name[0] in "_@!-":
        return NO_OVERLOAD
    shown = ", ".join(map(full_name, given))
    return f"{NO_OVERLOAD}: {name}" + ("" if name == "size" else f"({shown})")


_ORDERS = ("_<_", "_<=_", "_>_", "_>=_")
_UNORDERED = ("null", "list", "map", "type", "optional_type")
_BARE = ("startsWith", "endsWith", "contains", "matches")


def _no_object(_: str) -> Type | None:
    return None


@dataclass(frozen=True, slots=True)
class Table:
    """The functions of an environment; ``objects`` finds a type that it can make objects of."""

    functions: Mapping[tuple[str, bool], Function] = field(default_factory=dict)
    objects: Callable[[str], Type | None] = _no_object

    @staticmethod
    def of(
        *rows: Iterable[Overload], objects: Callable[[str], Type | None] | None = None
    ) -> "Table":
        """Return the table of overloads."""
        found: dict[tuple[str, bool], list[Overload]] = {}
        for each in (each for row in rows for each in row):
            found.setdefault((each.name, each.signature.member), []).append(each)
        made = {key: Function(key[0], tuple(each)) for key, each in found.items()}
        return Table(made, objects or _no_object)

    def overloads(self, name: str, *, member: bool) -> tuple[Overload, ...]:
        """Return the overloads of a function; none if there is no such function."""
        found = self.functions.get((name, member))
        return found.overloads if found else ()

    def resolve(self, node: Call, known: Container[str]) -> str | None:
        """Return the name of a function that has dots, such as ``optional.of``; else None."""
        if node.target is None:
            return None
        prefix = qualified(node.target, known)
        name = f"{prefix}.{node.name}"
        return name if prefix and (name, False) in self.functions else None
