"""The types of expressions, and the signatures of functions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Type:
    """A type with its parameters; of a type parameter, ``name`` is a letter.

    A list or a map without parameters is empty, and goes with those of any.
    ``fields`` are those of an object, by the names that expressions use; ``most`` is the greatest
    size of a value (characters, items), None if it is not known, and ``least`` are the bytes of
    the smallest one as JSON. These have no part in what makes two types the same.
    """

    name: str
    params: "tuple[Type, ...]" = ()
    fields: "Mapping[str, Field] | None" = field(default=None, compare=False, repr=False)
    most: int | None = field(default=None, compare=False, repr=False)
    least: int = field(default=1, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the type as upstream's messages have it."""
        inner = ", ".join(map(str, self.params))
        return f"{self.name}({inner})" if inner else _SHOWN.get(self.name, self.name)

    @property
    def is_param(self) -> bool:
        """True for a type parameter."""
        return len(self.name) == 1


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: its type, and its name in JSON."""

    type: Type
    name: str


_SHOWN = {"list": "list(dyn)", "map": "map(dyn, dyn)"}
DYN, BOOL, INT, UINT, DOUBLE = map(Type, ("dyn", "bool", "int", "uint", "double"))
STRING, BYTES, NULL, TIMESTAMP, DURATION = map(
    Type, ("string", "bytes", "null", "timestamp", "duration")
)
TYPE = Type("type")


def list_of(item: Type) -> Type:
    """Return the type of a list."""
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    """Return the type of a map."""
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    """Return the type of an optional value."""
    return Type("optional_type", (value,))


def object_of(name: str, fields: Mapping[str, Field]) -> Type:
    """Return the type of an object."""
    return Type(name, (), fields)


def more_general(one: Type, other: Type) -> Type:
    """Return the one of two types that go together whose values may be of more types."""
    return one if _is_as_general(one, other) else other


def _is_as_general(one: Type, other: Type) -> bool:
    if one == DYN or one.is_param:
        return True
    if one.name != other.name or len(one.params) < len(other.params):
        return False
    return all(map(_is_as_general, one.params, other.params))


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of a function's operands, the target first if it has one, and of its result."""

    args: tuple[Type, ...]
    result: Type
    member: bool


_WORD = re.compile(r"[A-Za-z0-9_.]+")
_ALIASES = {"optional": "optional_type"}


@lru_cache(maxsize=1024)
def signature(text: str) -> Signature:
    """Read ``string.(int, list<A>) bool``, or without a target ``(int) bool``."""
    reader = _Reader(text)
    args = []
    member = not text.startswith("(")
    if member:
        args.append(reader.type())
        reader.skip(".")
    reader.skip("(")
    while not reader.skip(")"):
        args.append(reader.type())
        reader.skip(",")
    return Signature(tuple(args), reader.type(), member)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text.replace(" ", ""), 0

    def skip(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False

    def type(self) -> Type:
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise ValueError(f"signature {self._text}: no type at {self._at}")
        name = match[0].rstrip(".")
        self._at += len(name)
        params = []
        if self.skip("<"):
            while not self.skip(">"):
                params.append(self.type())
                self.skip(",")
        return Type(_ALIASES.get(name, name), tuple(params))
